"""Manipulated data: what corrective unlearning starts from, shared by the forget sets poisoned and confused.

Goel, Prabhu, Torr, Kumaraguru, Sanyal: Corrective Machine Unlearning, TMLR 2024, arXiv:2402.14015. Some training rows
were manipulated; a known share of them is the forget set, and the others stay in retain, where no method can tell them
from sound rows. docs/decisions/0043-manipulated-data.md says how our data differ from the authors'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearnbench.contracts import Data, Index, Trigger
from unlearnbench.errors import UserError
from unlearnbench.forget.splits import Splits
from unlearnbench.randomness import stage_seed


@dataclass(frozen=True, eq=False)
class Manipulated:
    """A data set before and after some training rows were manipulated, and what shows if a model falls for it.

    `data` is what models are trained on, `clean` what it was before. `probe` has the clean labels, and the trigger, if
    there is one, in the manipulated `rows` and in `unseen`, the test rows that it is tried on; results call the latter
    `split`. `wanted` (n,) int64 is the label that the manipulation aims at for each row, -1 for none.
    """

    split: str
    clean: Data
    data: Data
    probe: Data
    rows: Index
    unseen: Index
    wanted: Index


def manipulated(split: str, clean: Data, rows: Index, wanted: Index, trigger: Trigger | None = None) -> Manipulated:
    """Give the training rows at `rows` the labels in `wanted` (n,), and a trigger, if there is one."""
    labels = clean.labels[: len(clean.unit)]
    changed = labels.copy()
    changed[rows] = wanted[rows]
    unseen = clean.test[wanted[clean.test] >= 0]
    probe = clean if trigger is None else clean.manipulated(labels, np.union1d(rows, unseen), trigger)
    return Manipulated(split, clean, clean.manipulated(changed, rows, trigger), probe, rows, unseen, wanted)


def split_by_known(data: Data, rows: Index, known: float, seed: int) -> Splits:
    """Forget the known share of the manipulated rows; the rows of a smaller share are among those of a larger one."""
    order = np.random.default_rng(stage_seed(seed, "forget", "known")).permutation(rows)
    forget = np.sort(order[: round(known * len(rows))])
    retain = np.setdiff1d(data.train, forget)
    if len(retain) < 2:
        raise UserError(
            f"forget.count={len(rows)} leaves {len(retain)} of {len(data.train)} training rows to retain; at least two "
            f"are needed.\nTry: forget.count={max(len(data.train) // 10, 2)}"
        )
    return Splits(retain, forget, data.validation, data.test, manipulated=rows)


def check_known(count: int, known: float) -> None:
    """Raise UserError where the known share is less than one row."""
    if round(known * count) < 1:
        raise UserError(
            f"forget.known={known} of forget.count={count} manipulated rows is less than one row.\n"
            "Try: forget.known=0.5"
        )


def draw(candidates: Index, count: int, seed: int, *names: str | int) -> Index:
    """Draw so many of the candidates; sorted."""
    order = np.random.default_rng(stage_seed(seed, "forget", *names)).permutation(candidates)
    return np.sort(order[:count])


def possible(data: Data, label: int) -> Index:
    """Return the training rows of another label that could be given this one."""
    rows = data.train[data.labels[data.train] != label]
    found: Index = rows[data.choices(rows)[:, label]]
    return found
