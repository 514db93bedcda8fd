"""forgotten.csv: the ids of the rows that were forgotten, by which their owner can show later that one was among them.

Only data that name their rows have it; of others the positions in splits.npz are known. These are the rows that
somebody asked to be forgotten: `eval.exposed=0` writes none, and no report or bundle has them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unlearnbench.contracts import Data, Index
from unlearnbench.files import stored

NAME = "forgotten.csv"
COLUMNS = ("request", "index", "id")


def write(folder: Path, data: Data, asked: Sequence[tuple[int, Index]]) -> None:
    """Write the ids of the rows of each numbered request; nothing where the data have no ids."""
    ids = data.columns.get("id")
    if ids is None:
        return
    with (folder / NAME).open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number, rows in asked:
            writer.writerows((number, position, ids[position]) for position in rows.tolist())


def read(folder: Path) -> tuple[str, tuple[str, ...]]:
    """Return what names the rows that a run forgot, "id" or "position", and these names.

    A position counts from 0 in the data set. Raises OSError or ValueError for files that are missing or damaged.
    """
    if (folder / NAME).exists():
        text = stored.content(folder / NAME).decode()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if any(row.get("id") is None for row in rows):
            raise ValueError(f"{NAME} has a row without an id")
        return "id", tuple(dict.fromkeys(row["id"] for row in rows))
    places = [*sorted((folder / "requests").glob("*/splits.npz")), folder / "splits.npz"]
    found = [_positions(place) for place in places]
    return "position", tuple(str(one) for one in np.unique(np.concatenate(found)).tolist())


def _positions(file: Path) -> Index:
    with np.load(file, allow_pickle=False) as arrays:
        if "forget" not in arrays:
            raise ValueError(f"{file.name} has no split of the name forget")
        rows: Index = arrays["forget"]
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(f"{file.name}: forget does not hold positions")
    return rows
