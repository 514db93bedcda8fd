"""Halves: some rows to learn from, and the others to look at."""

from __future__ import annotations

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.data.sampling import first_units
from unlearnbench.randomness import stage_seed


def halves(rows: Index, unit: Index, *names: str | int) -> tuple[Index, Index]:
    """Divide at least two positions into two halves, sorted; their draw is seeded by the names.

    Rows of one `unit` (n,) stay together, unless all rows are of one.
    """
    half = len(rows) // 2
    order = np.random.default_rng(stage_seed(*names)).permutation(rows)
    first = first_units(order, unit, half)
    first = np.sort(first if len(first) else order[:half])
    return first, np.setdiff1d(rows, first)
