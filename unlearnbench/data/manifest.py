"""A manifest: a table of photos with the columns path and label, and if you like id, split and any others."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from unlearnbench.data.columns import text, typed
from unlearnbench.data.files import SUFFIXES
from unlearnbench.data.listing import PICTURES, SPLITS, UNSAID, Listing, listed, twice
from unlearnbench.data.records import Record, rows_of
from unlearnbench.errors import UserError, counted, nearest
from unlearnbench.files.escapes import printable
from unlearnbench.files.trees import entry_of, files_below, is_shown

log = logging.getLogger("unlearnbench")

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
COLUMNS = ("path", "label", "id", "split")
"""The columns with a meaning; the first two are required."""
TRY = "Try: mend these lines"


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
    rows = _rows(file)
    known = dict.fromkeys(name for row in rows for name in row.values)
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
    columns = {name: np.array(typed([row.values.get(name) for row in rows])) for name in known if name not in COLUMNS}
    _warn_of_others(root, file, set(names))
    return Listing(entries, labels, splits, ids, columns)


class _Table:
    """The rows of a manifest, and its complaints."""

    def __init__(self, root: Path, file: Path, rows: Sequence[Record]) -> None:
        self.root, self.file, self.rows = root, file, rows

    def splits(self) -> NDArray[np.int8]:
        """Return each row's split."""
        words = [text(row.values.get("split")) for row in self.rows]
        wrong = [number for number, word in enumerate(words) if word not in SPLITS]
        self.refuse(wrong, words, "unknown split {!r}; expected train, val, validation or test")
        return np.array([SPLITS[word] for word in words], np.int8)

    def required(self, name: str) -> list[str]:
        """Return a column as text; no cell of it may be empty."""
        values = [text(row.values.get(name)) for row in self.rows]
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
                    f"{self._line(rows[1])}: {name} {value} is already on {self._line(rows[0])}"
                    for value, rows in found.items()
                ]
            )

    def _line(self, row: int) -> str:
        return f"line {self.rows[row].number}"

    def _raise(self, lines: Sequence[str]) -> NoReturn:
        raise UserError(f"{self.file} has {counted(len(lines), 'bad row')}:\n{listed(lines)}\n{TRY}")


def _is_name(name: str) -> bool:
    """Return whether a file can have this path: no system takes NUL, or half of a UTF-16 pair."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def _rows(file: Path) -> list[Record]:
    """Return the rows of a manifest."""
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"{file} is not a manifest; expected {', '.join(SUFFIXES)}.\nTry: dataset.metadata=metadata.csv"
        )
    if not file.exists():
        raise UserError(f"dataset.metadata={file} does not exist.\nTry: the path of the file from here")
    return rows_of(file, "Try: a row with path and label for each photo, as in path,label")


def _warn_of_others(root: Path, file: Path, names: set[str]) -> None:
    others = [entry.name for entry in files_below(root) if entry.name.lower().endswith(PICTURES)]
    left = [name for name in others if name not in names]
    if left:
        some = printable(left[0])
        log.warning("%s does not name %d images in %s, such as %s: they are left out", file, len(left), root, some)
