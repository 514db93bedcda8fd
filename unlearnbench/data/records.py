"""Read the rows of a user's own file: JSON lines, CSV or Parquet, each row with the line it is on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.data.files import COLUMNS, ROWS, TABLE, need_pyarrow, parquet, table_in
from unlearnbench.errors import UserError
from unlearnbench.files.intake import text_of

REMEDY = "Try: dataset.root=FILE, your rows as JSON lines (.jsonl), CSV or Parquet (docs/own-chat.md)"


@dataclass(frozen=True)
class Record:
    """A row: its values by column, its number from 1 (a file's line, where it has lines), and where it is."""

    values: dict[str, Any]
    number: int
    where: str


def records(root: Path) -> list[Record]:
    """Return the rows of the file at `root`, or of the only one in that folder.

    Raises UserError if a row cannot be read, or if there is none.
    """
    if not root.exists():
        raise UserError(f"dataset.root={root} does not exist.\n{REMEDY}")
    return rows_of(table_in(root, "your rows", REMEDY.removeprefix("Try: ")), REMEDY)


def rows_of(file: Path, remedy: str) -> list[Record]:
    """Return the rows of a CSV, JSON lines or Parquet file; raise UserError if one cannot be read, or there is none.

    Column names have no blanks around them. `remedy` ends every message.
    """
    found = list({".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}[file.suffix.lower()](file, remedy))
    if not found:
        raise UserError(f"{file} has no rows.\n{remedy}")
    if len(found) > ROWS or max(len(row.values) for row in found) > COLUMNS:
        raise UserError(f"{file} has {len(found):,} rows; at most {ROWS:,} of {COLUMNS:,} columns are read.\n{remedy}")
    return found


def _json_lines(file: Path, remedy: str) -> Iterator[Record]:
    for number, line in enumerate(text_of(file, TABLE, remedy).split("\n"), 1):
        where = f"{file}, line {number}"
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            said = f"{where} is not JSON: {error.msg} at character {error.colno}, {_around(line, error.pos)!r}"
            raise UserError(f"{said}.\nTry: one JSON object a line, without line breaks inside") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} cannot be read: {error}.\n{remedy}") from error
        if not isinstance(values, dict):
            raise UserError(f"{where}: expected a JSON object, found {line.strip()[:40]!r}.\n{remedy}")
        yield Record(values, number, where)


def _around(line: str, place: int) -> str:
    return line[max(place - 20, 0) : place + 20]


def _csv(file: Path, remedy: str) -> Iterator[Record]:
    text = text_of(file, TABLE, remedy)
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        start = 1
        try:
            header = [name.strip() for name in next(reader, [])]
            if len(set(header)) < len(header):
                raise UserError(f"{file} has a column twice: {', '.join(header)}.\n{remedy}")
            start = reader.line_num + 1
            for cells in reader:
                where = f"{file}, line {start}"
                if cells and len(cells) != len(header):
                    raise UserError(
                        f"{where} has {len(cells)} cells; the header has {len(header)} columns: {', '.join(header)}.\n"
                        'Try: commas between cells, and "..." around a text with commas or line breaks'
                    )
                if cells:
                    yield Record(dict(zip(header, cells, strict=True)), start, where)
                start = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{file}, line {start} cannot be read as CSV: {error}.\n{remedy}") from error


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a cell hold any text inside the block; the default allows 128 KiB."""
    before = csv.field_size_limit(TABLE)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(file: Path, remedy: str) -> Iterator[Record]:
    need_pyarrow(file, "the rows as JSON lines or CSV")
    try:
        rows = parquet(file, remedy).read().to_pylist()
    except (OSError, ValueError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{file} cannot be read as parquet: {reason}\n{remedy}") from error
    for number, values in enumerate(rows, 1):
        yield Record(values, number, f"{file}, row {number}")
