"""Forget sets that are chosen by a number for each training row: how many rows, and which of them come first."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.data.sampling import first_units
from unlearnbench.errors import UserError
from unlearnbench.forget.splits import Splits, too_few
from unlearnbench.randomness import stage_seed

Level = Literal["low", "medium", "high"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Rows = Annotated[int, Field(ge=2, le=10**9)]


def check_size(name: str, fraction: float | None, count: int | None, info: DataInfo) -> str:
    """Return the size as labels have it; raise UserError where it is not one, or leaves fewer than two rows."""
    if (fraction is None) == (count is None):
        raise UserError(
            f"forget={name} takes either a fraction or a count.\nTry: forget.fraction=0.1, or "
            "forget.fraction=null forget.count=100"
        )
    size_of(fraction, count, info.train - info.held_out)
    return str(count or fraction)


def size_of(fraction: float | None, count: int | None, trained: int) -> int:
    """Return how many of the training rows are forgotten; raise UserError where fewer than two are retained."""
    size = max(count or round((fraction or 0) * trained), 2)
    if size > trained - 2:
        asked = f"count={count}" if count else f"fraction={fraction}"
        raise UserError(
            f"forget.{asked} leaves fewer than two of {trained} training rows to retain.\n"
            f"Try: forget.fraction=0.1{' forget.count=null' if count else ''}"
        )
    return size


def ranked(score: NDArray[np.floating], label: Index | None, level: Level, seed: int) -> Index:
    """Return places in the order in which they are chosen, (n,): the highest scores first, the lowest, or the middle.

    `label` (n,) balances: rows compete with those of their own label, so that any first part of the order has about
    the labels of all. Ties are broken by a random order of the seed.
    """
    chance = np.random.default_rng(stage_seed(seed, "forget", "ranked")).permutation(len(score))
    label = np.zeros(len(score), dtype=np.int64) if label is None else label
    place = np.empty(len(score))
    for value in np.unique(label):
        mine = np.flatnonzero(label == value)
        order = mine[np.lexsort((chance[mine], score[mine]))]
        place[order] = (np.arange(len(order)) + 0.5) / len(order)
    far = {"low": place, "medium": np.abs(place - 0.5), "high": -place}[level]
    return np.lexsort((chance, np.round(far, 12)))


def first_rows(order: Index, data: Data, size: int, *, whole_pairs: bool) -> Index:
    """Return the first positions of an order, sorted; of whole pairs those that fit, by their first row."""
    rows = np.sort(first_units(order, data.unit, size) if whole_pairs else order[:size])
    if not len(rows):
        raise too_few(size)
    return rows


def rehearsed(data: Data, size: int, *names: str | int, whole_pairs: bool) -> Splits:
    """Return splits of the right size with rows drawn at random, other ones for other names."""
    order = np.random.default_rng(stage_seed("forget", "rehearsed", *names)).permutation(data.train)
    rows = first_rows(order, data, size, whole_pairs=whole_pairs)
    return Splits(np.setdiff1d(data.train, rows), rows, data.validation, data.test)
