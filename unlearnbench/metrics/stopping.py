"""Where along its path an unlearning should have stopped, by what a method may see.

Kurmanji et al. (SCRUB, NeurIPS 2023, arXiv:2302.09880) rewind to the epoch whose error on forget is nearest to that of
validation rows of the same classes. Here whole distributions of losses are compared, by the Kolmogorov-Smirnov
distance, as Maini et al. (TOFU, COLM 2024, arXiv:2401.06121) compare truth ratios: equal means may hide that half of
forget is still known and the other half conspicuously lost. Validation rows are weighted to forget's mix of labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearnbench.evidence import Floats, Integers


def distance(one: Floats, other: Floats, weight: Floats | None = None) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples (n,) and (m,), the second weighted by `weight` (m,).

    In [0, 1]; 0 for equal distributions, 1 where every value of one is below all of the other. Of two samples from one
    distribution it is about .87 sqrt(1/n + 1/m), with m = 1 / sum(weight^2) where weights have the sum 1.
    """
    share = np.full(len(other), 1 / len(other)) if weight is None else weight / weight.sum()
    order, values = np.argsort(other, kind="stable"), np.unique(np.concatenate([one, other]))
    below = np.searchsorted(np.sort(one), values, side="right") / len(one)
    summed = np.concatenate([[0.0], np.cumsum(share[order])])
    weighted = summed[np.searchsorted(other[order], values, side="right")]
    return float(np.abs(below - weighted).max())


def by_chance(count: int, weight: Floats) -> float:
    """Return the distance below which 95 in 100 pairs of samples of one distribution are, large ones: 1.358 sqrt(...).

    `weight` (m,) are the weights of the second sample, whose sum is 1; the limit is Kolmogorov's.
    """
    return float(min(1.358 * np.sqrt(1 / count + np.square(weight).sum()), 1.0))


def mixed_like(labels: Integers, wanted: Integers) -> Floats:
    """Return weights for rows with these labels (m,) that give them the mix of labels in `wanted` (n,); their sum is 1.

    Rows with a label that `wanted` has not get 0. There must be at least one of the others.
    """
    known, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    share = np.array([(wanted == label).sum() for label in known], dtype=np.float64)
    weight = (share / count)[place]
    whole: Floats = weight / weight.sum()
    return whole


def best(unlike: Sequence[float], harm: Sequence[float]) -> int:
    """Return the place of the smallest value; of equal ones, that with the least harm, and then the first."""
    return min(range(len(unlike)), key=lambda place: (unlike[place], harm[place], place))
