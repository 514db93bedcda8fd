"""The mean of numbers that share training seeds and draws of the forget set, and how sure it is.

Runs of S seeds on D draws are not S x D independent runs: those of one seed share the original, those of one draw the
forget rows. With e the residuals, summed over what each cluster has, the variance of the mean is (Cameron, Gelbach and
Miller 2011, two-way clusters, each term with G / (G - 1) for few clusters)

    V = V_seed + V_draw - V_pair,    and here at least V_seed and at least V_draw

Student's t has min(S, D) - 1 degrees of freedom. Where only one of both varies, or each seed has a draw of its own, it
is the usual interval of a mean. docs/decisions/0052-words-and-pooled-tables.md has how often it holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unlearnbench.evidence import Floats

Unit = tuple[int, int]
"""What a number is of: a training seed, and a draw of the forget set."""


@dataclass(frozen=True)
class Mean:
    """A mean, its standard error, and of how many clusters that is known; NaN for the error of one."""

    value: float
    error: float
    clusters: int

    @property
    def half(self) -> float:
        """Half of the 95 % interval; NaN for one cluster."""
        from unlearnbench.metrics.intervals import student

        return student(self.clusters) * self.error if self.clusters > 1 else math.nan


def mean_of(by_unit: Mapping[Unit, float]) -> Mean:
    """Return the mean of numbers by seed and draw."""
    values = np.array(list(by_unit.values()), dtype=np.float64)
    if not len(values):
        return Mean(math.nan, math.nan, 0)
    sides = [side for side in zip(*by_unit, strict=True) if len(set(side)) > 1]
    if not sides:
        return Mean(float(values.mean()), math.nan, 1)
    if len(sides) == 1:
        return Mean(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values))
    residuals = values - values.mean()
    by_seed, by_draw, by_pair = (_variance(residuals, side) for side in (*sides, range(len(values))))
    variance = max(by_seed, by_draw, by_seed + by_draw - by_pair)
    return Mean(float(values.mean()), math.sqrt(variance), min(len(set(side)) for side in sides))


def _variance(residuals: Floats, cluster: Sequence[int]) -> float:
    """Return the variance of the mean where residuals (n,) of one cluster go together."""
    _, member = np.unique(np.asarray(cluster), return_inverse=True)
    sums = np.bincount(member, weights=residuals)
    count = len(sums)
    return float(np.square(sums).sum()) * count / (count - 1) / len(residuals) ** 2
