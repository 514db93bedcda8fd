"""Escape text from outside, such as class names or reasons, for the place where it is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
           "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
"""The characters that start a formula in a spreadsheet (OWASP, "CSV Injection")."""
_MARKS = re.compile(r"[\\`\[\]|]")
_LINKS = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp):|\b(www)\.")


def printable(text: str) -> str:
    """Return text on one line, without characters that control a terminal or text direction."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def csv_cell(value: Any) -> Any:
    """Return a cell with an apostrophe before what a spreadsheet would take for a formula."""
    if not isinstance(value, str):
        return value
    text = value.encode(errors="replace").decode()
    escaped = f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text
    escaped = escaped.replace("\r\n", "\n").replace("\r", "\n")  # a lone \r would end the row: csv does not quote it
    return value if escaped == value else escaped


def csv_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with each cell escaped."""
    return {name: csv_cell(value) for name, value in row.items()}


def csv_table(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return a table with all text cells escaped."""
    import pandas

    def escaped(column: pandas.Series[Any]) -> pandas.Series[Any]:
        if pandas.api.types.is_numeric_dtype(column):
            return column
        cells = {value: csv_cell(value) for value in column.unique()}  # a few names, in hundreds of thousands of rows
        if all(cell is value for value, cell in cells.items()):
            return column
        return pandas.Series([cells.get(value, value) for value in column], index=table.index, dtype=column.dtype)

    return pandas.DataFrame({name: escaped(column) for name, column in table.items()}, columns=table.columns)


def in_markdown(text: str) -> str:
    """Return text as one line of GitHub Markdown, with table cells, links, code and HTML escaped."""
    text = _MARKS.sub(r"\\\g<0>", printable(text))
    text = _LINKS.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)
    return re.sub(r"&(?=[#\w])", "&amp;", text).replace("<", "&lt;")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()  # float() ignores line ends
