"""Come-back: what of an earlier request is known again after a later one, and how long a model stays useful."""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Floats


def comebacks(right: Floats) -> Floats:
    """Return how much better each request's rows are known than right after it, (k, k) float64, NaN at and above.

    `right` (k, k) is how often the model after request i (rows) is right on what request j forgot (columns), for j up
    to i; the rest does not count. In [-1, 1]; perfect is 0, and above it something came back.
    """
    later = np.tril(np.ones(right.shape, dtype=bool), -1)
    return np.where(later, right - np.diag(right), np.nan)


def largest_comeback(right: Floats) -> float | None:
    """Return the largest of all come-backs; in [-1, 1], perfect is 0. None for one request."""
    found = comebacks(right)
    return None if np.isnan(found).all() else float(np.nanmax(found))


def requests_above(utility: Floats, floor: float) -> int:
    """Return after how many requests in a row, from the first, utility (k,) is not below the floor; in [0, k]."""
    below = np.flatnonzero(utility < floor)
    return int(below[0]) if len(below) else len(utility)
