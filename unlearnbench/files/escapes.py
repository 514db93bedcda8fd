"""Text of somebody else's, such as a name of a class or a reason, made plain for the place where it is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
           "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
"""What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection")."""
_MARKS = re.compile(r"[\\`\[\]|]")
_LINKS = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp):|\b(www)\.")


def printable(text: str) -> str:
    """Return text on one line, without characters that move a terminal's cursor or turn the writing round."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def csv_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet computes: an apostrophe before what would be a formula; numbers stay."""
    if not isinstance(value, str):
        return value
    text = value.encode(errors="replace").decode()
    escaped = f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text
    return escaped.replace("\r\n", "\n").replace("\r", "\n")  # a lone one would end the row, and is not quoted


def csv_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with each cell escaped."""
    return {name: csv_cell(value) for name, value in row.items()}


def csv_table(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return a table with each cell that is text escaped."""
    import pandas

    columns = {
        name: column if pandas.api.types.is_numeric_dtype(column)
        else pandas.Series([csv_cell(value) for value in column], index=table.index, dtype=column.dtype)
        for name, column in table.items()
    }  # fmt: skip
    return pandas.DataFrame(columns, columns=table.columns)


def in_markdown(text: str) -> str:
    """Return text as one line of GitHub Markdown that shows it: no table cell, link, code or HTML begins in it."""
    text = _MARKS.sub(r"\\\g<0>", printable(text))
    text = _LINKS.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)
    return re.sub(r"&(?=[#\w])", "&amp;", text).replace("<", "&lt;")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isprintable()  # float() passes over line ends
