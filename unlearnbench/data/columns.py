"""The ids and further columns of a user's rows, as arrays can hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unlearnbench.data.records import Record
from unlearnbench.errors import UserError

WORDS = {"true": True, "false": False}
LARGEST = 2**63


def ids_of(rows: Sequence[Record], own: int) -> list[str]:
    """Return the column `id`, or the number of each row's line; raise UserError if two rows have one id.

    The rows after the first `own` are a second file's, whose lines are counted anew.
    """
    given = any(row.values.get("id") not in (None, "") for row in rows)
    first: dict[str, Record] = {}
    for place, row in enumerate(rows):
        name = str(row.values.get("id", "")) if given else f"{row.number}" if place < own else f"test {row.number}"
        if row.values.get("id") in (None, "") and given:
            raise UserError(f"{row.where} has no id, but other rows have one.\nTry: an id for each row, or for none")
        if first.setdefault(name, row) is not row:
            raise UserError(
                f"the id {name!r} is there twice: {first[name].where}, and {row.where}.\nTry: one row per id"
            )
    return list(first)


def columns_of(rows: Sequence[Record], ids: Sequence[str], said: Iterable[str]) -> dict[str, list[object]]:
    """Return the scalar columns by name, `id` first, without those `said` in the conversation, options and split.

    A column with several types, or without a value in some rows, is text, "" for no value.
    """
    read = {"id", "options", "split", *said}
    names = dict.fromkeys(name for row in rows for name in row.values if name not in read)
    found: dict[str, list[object]] = {"id": list(ids)}
    for name in names:
        values = [row.values.get(name) for row in rows]
        if not any(isinstance(value, (list, dict)) for value in values):
            found[name] = typed(values)
    return found


def typed(values: Sequence[object]) -> list[object]:
    """Return a column as truth values, whole numbers, numbers or text, whatever all of its values are.

    Text counts as a number if it is written as a whole one, without zeros before it. Text has no blanks around it.
    """
    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain}
    if kinds <= {bool} or (kinds <= {int, float} and all(_is_small(value) for value in plain)):
        return plain
    return [text(value) for value in values]


def text(value: object) -> str:
    """Return a cell as text; nothing for one that is empty."""
    return "" if value is None or value != value else str(value).strip()


def _plain(value: object) -> object:
    word = value.strip() if isinstance(value, str) else ""
    if word.lower() in WORDS:
        return WORDS[word.lower()]
    digits = word.removeprefix("-")
    whole = digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(word)) == word
    return int(word) if whole else value


def _is_small(value: object) -> bool:
    return not isinstance(value, int) or -LARGEST <= value < LARGEST
