"""Local copies of data sets from the hub: a folder by configuration, in it a file by split, as JSON or Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unlearnbench.data.files import ROWS, TABLE, json_lines, need_pyarrow, parquet, parsed
from unlearnbench.errors import UserError
from unlearnbench.files.intake import text_of

Row = dict[str, Any]


def part_files(root: Path, name: str) -> list[Path]:
    """Return the files of one part, such as raw/forget: NAME.json, .jsonl or .parquet, or the hub's shards of it."""
    for ending in (".json", ".jsonl", ".parquet"):
        if (file := root / f"{name}{ending}").is_file():
            return [file]
    return sorted(root.glob(f"{name}-*-of-*.parquet"))


def check_parts(root: Path | None, names: Iterable[str], what: str, remedy: str) -> None:
    """Raise UserError if there is no folder, or if it lacks a part; `what` is the data set's name."""
    if root is None:
        raise UserError(f"{what} needs a local copy, and dataset.root is not set.\n{remedy}")
    if not root.is_dir():
        raise UserError(f"dataset.root={root} is not a folder.\n{remedy}")
    if lacking := [name for name in names if not part_files(root, name)]:
        raise UserError(
            f"dataset.root={root} lacks {what}'s {', '.join(lacking)} (.json, .jsonl or parquet).\n{remedy}"
        )


def part_rows(root: Path, name: str, needed: Sequence[str], remedy: str) -> list[Row]:
    """Read the rows of one part; raise UserError if one lacks a text in a `needed` column, or if there is none.

    A JSON file is a list of objects, or of texts where only one column is needed.
    """
    rows: list[Row] = []
    for file in part_files(root, name):
        found = _rows(file, needed, remedy)
        for number, row in enumerate(found, 1):
            if lacking := [column for column in needed if not isinstance(row.get(column), str)]:
                raise UserError(f"{file}, row {number} has no text in {', '.join(lacking)}.\n{remedy}")
        rows += found
    if not 0 < len(rows) <= ROWS:
        raise UserError(f"{root / name} holds {len(rows):,} rows; expected 1 to {ROWS:,}.\n{remedy}")
    return rows


def _rows(file: Path, needed: Sequence[str], remedy: str) -> list[Row]:
    if file.suffix == ".parquet":
        need_pyarrow(file, "the same files as JSON")
        try:
            read: list[Row] = parquet(file, remedy).read().to_pylist()
        except (OSError, ValueError, MemoryError) as error:
            raise UserError(f"{file} cannot be read as parquet: {str(error).splitlines()[0]}\n{remedy}") from error
        return read
    if file.suffix == ".jsonl":
        return json_lines(file)
    rows = parsed(text_of(file, TABLE, remedy), str(file))
    if not isinstance(rows, list):
        raise UserError(f"{file}: expected a list of rows, and it is a {type(rows).__name__}.\n{remedy}")
    if len(needed) == 1:
        rows = [{needed[0]: row} if isinstance(row, str) else row for row in rows]
    if strange := next((row for row in rows if not isinstance(row, dict)), None):
        raise UserError(f"{file}: expected objects with {', '.join(needed)}, found {str(strange)[:60]!r}.\n{remedy}")
    return list(rows)
