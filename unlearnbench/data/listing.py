"""Which photos there are: their paths, labels, ids, splits and columns, from folders or from a manifest."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearnbench.errors import UserError, counted
from unlearnbench.files.escapes import printable
from unlearnbench.files.trees import Entry, files_below, is_shown

log = logging.getLogger("unlearnbench")

UNSAID, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
SPLITS = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST}
"""The names of splits, of folders and in a manifest."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif", ".heic", ".heif")
SHOWN = 10
LAYOUTS = (
    "Expected FOLDER/CLASS/photo.jpg, or FOLDER/train/CLASS/photo.jpg (val and test beside train), or a metadata.csv "
    "with the columns path and label (docs/own-photos.md)."
)


@dataclass(frozen=True, eq=False)
class Listing:
    """The photos of a data set, n rows: `splits` (n,) int8 are UNSAID where they must be drawn.

    `columns` (n,) is what else is known; `classes` are the labels in order, where the data says so.
    """

    entries: Sequence[Entry]
    labels: Sequence[str]
    splits: NDArray[np.int8]
    ids: Sequence[str]
    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None

    def __eq__(self, other: object) -> bool:
        """Return whether a later look found the same files, of the same size and time, with the same words."""
        return isinstance(other, Listing) and self._values() == other._values()

    def _values(self) -> list[object]:
        columns = {name: values.tolist() for name, values in self.columns.items()}
        return [self.entries, self.labels, self.splits.tolist(), self.ids, columns, self.classes]


def in_folders(root: Path) -> Listing:
    """List the photos of a folder of classes, or of the splits above them; raise UserError for another layout."""
    top = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and is_shown(entry.name))
    parts = [name for name in top if name in SPLITS]
    if "train" in parts and any(entry.is_dir() and is_shown(entry.name) for entry in (root / "train").iterdir()):
        return _in_splits(root, top)
    if not top:
        raise UserError(f"{root} has no folders of photos.\n{LAYOUTS}\nTry: dataset.root=FOLDER, the one above them")
    return _listing(root, [("", UNSAID)])


def _in_splits(root: Path, top: Sequence[str]) -> Listing:
    if others := [name for name in top if name not in SPLITS]:
        raise UserError(
            f"{root} has train, and beside it {_some(others)}: a class, or a split?\n{LAYOUTS}\n"
            "Try: splits named train, val and test alone"
        )
    if {"val", "validation"} <= set(top):
        raise UserError(f"{root} has both val and validation.\nTry: one of the two")
    return _listing(root, [(f"{name}/", SPLITS[name]) for name in top])


def _listing(root: Path, parts: Iterable[tuple[str, int]]) -> Listing:
    """List the photos below each part, which holds a folder for each class."""
    entries, labels, splits, loose = [], [], [], []
    for part, split in parts:
        empty = {one.name for one in (root / part).iterdir() if one.is_dir() and is_shown(one.name)}
        for entry in files_below(root / part):
            label, below, _ = entry.name.partition("/")
            if not below:
                loose += [part + label] if label.lower().endswith(PICTURES) else []
                continue
            empty.discard(label)
            entries.append(entry._replace(name=part + entry.name))
            labels.append(label)
            splits.append(split)
        if empty:
            names = _some([part + name for name in sorted(empty)])
            raise UserError(
                f"{root} has labels without images: {names}.\nTry: photos in them, or without these folders"
            )
    if loose:
        raise UserError(
            f"{root} has {counted(len(loose), 'image')} without a label, in no folder of a class: "
            f"{_some(loose)}.\n{LAYOUTS}\n"
            "Try: move them into the folder of their class"
        )
    return Listing(entries, labels, np.array(splits, np.int8), [entry.name for entry in entries])


def _some(names: Sequence[str]) -> str:
    """Join the first few names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more


def listed(names: Sequence[str], indent: str = "  ") -> str:
    """Return the first few lines of a list, and how many more there are."""
    more = [f"... and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return "\n".join(indent + printable(line) for line in [*names[:SHOWN], *more])


def twice(values: Sequence[str]) -> dict[str, list[int]]:
    """Return the values that occur more than once, with the rows that have them."""
    several = {value for value, count in Counter(values).items() if count > 1}
    found: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value in several:
            found.setdefault(value, []).append(row)
    return found
