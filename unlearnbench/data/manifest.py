"""A manifest: a table of photos with the columns path and label, and if you like id, split and any others."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from unlearnbench.data.files import TABLE, parquet, parsed
from unlearnbench.data.listing import SPLITS, SUFFIXES, UNSAID, Listing, listed, twice
from unlearnbench.errors import UserError, counted, nearest
from unlearnbench.files.escapes import printable
from unlearnbench.files.intake import text_of
from unlearnbench.files.trees import entry_of, files_below, is_shown

log = logging.getLogger("unlearnbench")

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
COLUMNS = ("path", "label", "id", "split")
"""The columns with a meaning; the first two are required."""
TRY = "Try: mend these lines"
Rows = list[tuple[int, Mapping[str, Any]]]


def manifest_in(root: Path) -> Path | None:
    """Return a folder's manifest, if it has one; raise UserError for more than one."""
    found = [root / name for name in NAMES if (root / name).exists()]
    if len(found) > 1:
        raise UserError(
            f"{root} has {' and '.join(file.name for file in found)}.\nTry: dataset.metadata={found[0]}, or without one"
        )
    return found[0] if found else None


def from_manifest(root: Path, file: Path) -> Listing:
    """List the photos that a manifest names below `root`; raise UserError, with line numbers, for what is wrong."""
    rows = list(_rows(file))
    if not rows:
        raise UserError(f"{file} has no rows.\nTry: a row with path and label for each photo")
    known = dict.fromkeys(name for _, row in rows for name in row)
    for name in COLUMNS[:2]:
        if name not in known:
            semicolons = any(";" in column for column in known)
            hint = " It seems to be separated by semicolons; expected commas." if semicolons else nearest(name, known)
            raise UserError(
                f"{file} has no column {name}; it has {', '.join(known)}.{hint}\n"
                "Try: a first line such as path,label,id,split"
            )
    table = _Table(root, file, rows)
    splits = table.splits() if "split" in known else np.full(len(rows), UNSAID, np.int8)
    names = table.paths()
    labels = table.required("label")
    entries = [entry_of(os.path.join(root, name), name) for name in names]
    table.refuse([row for row, entry in enumerate(entries) if entry.size < 0], names, "no such file: {}")
    ids = table.required("id") if "id" in known else names
    table.refuse_twice("path", names)
    table.refuse_twice("id", ids)
    columns = {name: typed([row.get(name) for _, row in rows]) for name in known if name not in COLUMNS}
    _warn_of_others(root, file, set(names))
    return Listing(entries, labels, splits, ids, columns)


class _Table:
    """The rows of a manifest, and its complaints."""

    def __init__(self, root: Path, file: Path, rows: Rows) -> None:
        self.root, self.file, self.rows = root, file, rows

    def splits(self) -> NDArray[np.int8]:
        """Return each row's split."""
        words = [_text(row.get("split")) for _, row in self.rows]
        wrong = [number for number, word in enumerate(words) if word not in SPLITS]
        self.refuse(wrong, words, "unknown split {!r}; expected train, val, validation or test")
        return np.array([SPLITS[word] for word in words], np.int8)

    def required(self, name: str) -> list[str]:
        """Return a column as text; no cell of it may be empty."""
        values = [_text(row.get(name)) for _, row in self.rows]
        self.refuse([row for row, value in enumerate(values) if not value], values, f"no {name}")
        return values

    def paths(self) -> list[str]:
        """Return the paths, relative to the root and with slashes."""
        given = self.required("path")
        self.refuse([row for row, name in enumerate(given) if not _is_name(name)], given, "{!a} is no path of a file")
        names = [self._normal(name) for name in given]
        outside = [row for row, name in enumerate(names) if name.startswith(("../", "/")) or name in (".", "..")]
        self.refuse(outside, names, f"the path {{}} is not a file below {self.root}")
        hidden = [row for row, name in enumerate(names) if not all(map(is_shown, name.split("/")))]
        self.refuse(hidden, names, "the path {} is hidden, or a system's; expected files that are not, such as a/b.jpg")
        return names

    def _normal(self, name: str) -> str:
        plain = os.path.normpath(name)
        if "\\" in name and not os.path.exists(os.path.join(self.root, plain)):  # written on Windows
            return os.path.normpath(name.replace("\\", "/"))
        return plain

    def refuse(self, wrong: Sequence[int], values: Sequence[str], words: str) -> None:
        """Raise UserError if any rows are wrong; `words` has a place for each one's value."""
        if wrong:
            self._raise([f"{self._line(row)}: {words.format(values[row])}" for row in wrong])

    def refuse_twice(self, name: str, values: Sequence[str]) -> None:
        """Raise UserError if a value occurs more than once."""
        found = twice(values)
        if found:
            self._raise(
                [
                    f"{self._line(rows[1])}: {name} {value} is already on line {self.rows[rows[0]][0]}"
                    for value, rows in found.items()
                ]
            )

    def _line(self, row: int) -> str:
        return f"line {self.rows[row][0]}"

    def _raise(self, lines: Sequence[str]) -> NoReturn:
        raise UserError(f"{self.file} has {counted(len(lines), 'bad row')}:\n{listed(lines)}\n{TRY}")


def _is_name(name: str) -> bool:
    """Return whether a file can have this path: no system takes NUL, or half of a UTF-16 pair."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the rows of a manifest with their line numbers; of a Parquet file, row numbers from 1."""
    readers: dict[str, Callable[[Path], Iterator[tuple[int, Mapping[str, Any]]]]] = {
        ".csv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows,
    }  # fmt: skip
    if file.suffix.lower() not in readers:
        raise UserError(f"{file} is not a manifest; expected {', '.join(readers)}.\nTry: dataset.metadata=metadata.csv")
    if not file.exists():
        raise UserError(f"dataset.metadata={file} does not exist.\nTry: the path of the file from here")
    return readers[file.suffix.lower()](file)


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text_of(file, TABLE), newline=""), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names):
            raise UserError(f"{file} has a column twice: {', '.join(names)}.\nTry: another name for one of them")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                raise UserError(
                    f"{file}, line {reader.line_num} has {len(cells)} cells, and the first line has {len(names)}.\n"
                    'Try: quote a cell with a comma in it, as in "a, b"'
                )
            yield reader.line_num, dict(zip(names, map(str.strip, cells), strict=True))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}.\n{TRY}") from error


def _json_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text_of(file, TABLE).split("\n"), 1):
        if line.strip():
            row = parsed(line, f"{file}, line {number}")
            if not isinstance(row, dict):
                raise UserError(
                    f'{file}, line {number}: expected an object, such as {{"path": "a.jpg", "label": "cat"}}'
                )
            yield number, row


def _parquet_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        table = parquet(file).read()
    except (ValueError, OSError, ImportError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{file} cannot be read as parquet: {reason}\nTry: metadata.csv in its place") from error
    yield from enumerate(table.to_pylist(), 1)


def typed(values: Sequence[Any]) -> NDArray[np.generic]:
    """Return a column as truth values, whole numbers, numbers or text, whatever all of its values are.

    Text from a CSV file counts as a number if it is written as one, without zeros before it.
    """
    plain = [_value(value) for value in values]
    kinds = {type(value) for value in plain}
    if kinds <= {bool} or kinds <= {int} or kinds <= {int, float}:
        with_limits = all(not isinstance(value, int) or abs(value) < 2**63 for value in plain)
        if with_limits:
            return np.array(plain)
    return np.array([_text(value) for value in values])


def _value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    digits = value.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(value)) == value:
        return int(value)
    return value


def _text(value: Any) -> str:
    """Return a cell as text; nothing for one that is empty."""
    return "" if value is None or value != value else str(value).strip()


def _warn_of_others(root: Path, file: Path, names: set[str]) -> None:
    others = [entry.name for entry in files_below(root) if entry.name.lower().endswith(SUFFIXES)]
    left = [name for name in others if name not in names]
    if left:
        some = printable(left[0])
        log.warning("%s does not name %d images in %s, such as %s: they are left out", file, len(left), root, some)
