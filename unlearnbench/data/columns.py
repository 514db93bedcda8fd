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

    A column of one type keeps it; with several types, or without a value in some rows, it is text, "" for no value.
    """
    read = {"id", "options", "split", *said}
    names = dict.fromkeys(name for row in rows for name in row.values if name not in read)
    found: dict[str, list[object]] = {"id": list(ids)}
    for name in names:
        values = [row.values.get(name) for row in rows]
        if not any(isinstance(value, (list, dict)) for value in values):
            found[name] = _alike(values)
    return found


def _alike(values: list[object]) -> list[object]:
    if all(isinstance(value, str) and value.lower() in WORDS for value in values):
        return [WORDS[str(value).lower()] for value in values]
    kinds = {type(value) for value in values}
    small = all(not isinstance(value, int) or -LARGEST <= value < LARGEST for value in values)
    if len(kinds) == 1 and kinds <= {bool, int, float} and small:
        return values
    return ["" if value is None else str(value) for value in values]
