"""Divide a user's rows into training, validation and test rows, and look for conversations on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.data.records import Record
from unlearnbench.data.sampling import units
from unlearnbench.data.text import TextRow, firsts
from unlearnbench.errors import UserError, counted, nearest

Duplicates = Literal["refuse", "drop", "allow"]
Parts = dict[str, list[TextRow]]
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
SHOWN = 3


class Shares(Protocol):
    """The settings that decide what is held out where no column does."""

    @property
    def validation(self) -> float:
        """The share of the rows for validation."""

    @property
    def test(self) -> float:
        """The share of the rows for the test set."""

    @property
    def seed(self) -> int:
        """The seed of the draw."""


def divided(shares: Shares, records: Sequence[Record], rows: Sequence[TextRow], own: int) -> Parts:
    """Divide rows by the column `split`, or by seeded shares; those after the first `own` are a test file's.

    Raises UserError if fewer than two rows are left to train on, or none to test on.
    """
    if any(record.values.get("split") is not None for record in records[:own]):
        names = [_split(record) for record in records[:own]]
        how = "by the column split"
    else:
        names = _drawn(shares, rows[:own], with_test=own == len(rows))
        how = f"of {own} by dataset.validation={shares.validation:g} and dataset.test={shares.test:g}"
    names += ["test"] * (len(rows) - own)
    parts: Parts = {name: [] for name in SPLITS.values()}
    for name, row in zip(names, rows, strict=True):
        parts[name].append(row)
    if len(parts["train"]) < 2 or not parts["test"]:
        sizes = ", ".join(f"{len(found)} {name} rows" for name, found in parts.items())
        raise UserError(
            f"the file has {sizes} ({how}); at least two to train on and one to test on are needed.\n"
            "Try: more rows, dataset.test=0.2, dataset.test_file=FILE, or a column split with train and test"
        )
    return parts


def without_copies(parts: Parts, duplicates: Duplicates) -> Parts:
    """Refuse, drop or allow held-out rows whose conversation is also trained on, or of test in validation."""
    if duplicates == "allow":
        return parts
    seen: dict[object, TextRow] = {}
    copies: list[tuple[str, TextRow, TextRow]] = []
    kept: Parts = {}
    for name, rows in parts.items():
        found = [(row, seen.get(content(row))) for row in rows]
        copies += [(name, row, first) for row, first in found if first is not None]
        kept[name] = [row for row, first in found if first is None]
        for row in rows:
            seen.setdefault(content(row), row)
    if copies and duplicates == "refuse":
        shown = [f"{name} row {row.facts['id']} is row {first.facts['id']}" for name, row, first in copies[:SHOWN]]
        more = f"; and {len(copies) - SHOWN} more" if len(copies) > SHOWN else ""
        raise UserError(
            f"{counted(len(copies), 'held-out row has', 'held-out rows have')} the same conversation as a row of "
            f"another part, so not really held out: {'; '.join(shown)}{more} (by id).\n"
            "Try: dataset.duplicates=drop, which leaves them out of validation and test, or dataset.duplicates=allow"
        )
    if not kept["test"]:
        raise UserError(
            "dataset.duplicates=drop leaves no test row: each has the same conversation as another row.\n"
            "Try: other test rows, or dataset.duplicates=allow"
        )
    return kept


def content(row: TextRow) -> object:
    """Return what two copies of a conversation have in common."""
    return row.history, row.prompt, row.options[row.label]


def _split(record: Record) -> str:
    name = str(record.values.get("split") or "").strip().lower()
    if name not in SPLITS:
        raise UserError(
            f"{record.where} has the split {name!r}; expected {', '.join(SPLITS)}.{nearest(name, SPLITS)}\n"
            "Try: one of these in each row, or the file without the column split"
        )
    return SPLITS[name]


def _drawn(shares: Shares, rows: Sequence[TextRow], *, with_test: bool) -> list[str]:
    """Draw the part of each row; rows of one pair, and copies of one conversation, go to the same part."""
    unit = _together(rows)
    left, names = np.arange(len(rows)), ["train"] * len(rows)
    for name, share in (("test", shares.test if with_test else 0.0), ("validation", shares.validation)):
        drawn = units(left, unit, round(share * len(rows)), shares.seed, "chat", name)
        left = np.setdiff1d(left, drawn)
        for place in drawn.tolist():
            names[place] = name
    return names


def _together(rows: Sequence[TextRow]) -> Index:
    """Number the groups of rows that are linked by a pair or by equal conversations, (n,) int64."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(rows)
    linked = np.concatenate([firsts([row.pair for row in rows]), firsts([repr(content(row)) for row in rows])])
    places = np.tile(np.arange(count), 2)
    graph = coo_array((np.ones(2 * count), (places, linked)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
