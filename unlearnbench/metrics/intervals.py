"""95 % intervals over examples, some of which belong together: the rows of a template, the questions on one author.

Examples of one cluster are not independent, so that many rows of few templates say little. A rate has Wilson's interval
(1927) over as many examples as its rows are worth (Kish 1965; Korn and Graubard 1998); anything else the percentiles of
a bootstrap that draws clusters (Efron 1979), set wider for few of them (Hesterberg 2015, arXiv:1411.5279).
docs/decisions/0029-intervals-by-cluster.md has how often each holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evidence import Array, Floats

DRAWS = 1000
BATCH = 50
"""Draws held in memory at a time."""
FEWEST = 5
"""With fewer clusters there is no bootstrap: their draws differ too little."""
Z = NormalDist().inv_cdf(0.975)

Interval = tuple[float, float]


def rate_interval(values: Array, cluster: Array) -> Interval:
    """Return low and high of the mean of values (n,) in [0, 1], of examples in clusters (n,)."""
    return wilson(float(values.mean()), effective(values, cluster))


def wilson(rate: float, count: float) -> Interval:
    """Return Wilson's interval of a rate among so many independent examples.

    Neither the count nor the rate's share of it need be whole numbers, as scipy.stats.binomtest wants them.
    """
    middle, half = rate + Z**2 / (2 * count), Z * math.sqrt(rate * (1 - rate) / count + Z**2 / (4 * count**2))
    low, high = (middle - half) / (1 + Z**2 / count), (middle + half) / (1 + Z**2 / count)
    return 0.0 if rate == 0 else max(low, 0.0), 1.0 if rate == 1 else min(high, 1.0)  # which they are but for rounding


def effective(values: Array, cluster: Array) -> float:
    """Return how many independent examples the values (n,) in [0, 1] are worth: of equal clusters K to n.

    As many as would give the mean the variance that it has between clusters, less what is not known of that variance
    (Student's t with K - 1 degrees of freedom). Where all values agree nothing is known of it, and each cluster counts
    as one example: the worst that there can be.
    """
    sums, sizes = _totals(values, cluster)
    count, clusters, mean = len(values), len(sizes), float(values.mean())
    least = count**2 / float(np.square(sizes).sum())
    if clusters < 2 or mean in (0.0, 1.0):
        return least
    between = float(np.square(sums - mean * sizes).sum()) * clusters / (clusters - 1) / count**2
    worth = 1 + mean * (1 - mean) / between if between > 0 else math.inf
    return min(max(worth * (Z / student(clusters)) ** 2, least), count)


def difference_interval(first: Array, second: Array, cluster: Array) -> Interval:
    """Return low and high of how much higher the mean of `first` (n,) is than that of `second`, on the same examples.

    The wider of two: Student's t over the clusters' differences, and Newcombe's (1998, method 10) from the intervals of
    both rates and their correlation, which has a width where all clusters agree. One cluster says nothing: -1 to 1.
    """
    (sums, sizes), (others, _) = _totals(first, cluster), _totals(second, cluster)
    clusters, mean = len(sizes), float(first.mean() - second.mean())
    if clusters < 2:
        return -1.0, 1.0
    error = math.sqrt(float(np.square(sums - others - mean * sizes).sum()) * clusters / (clusters - 1)) / len(first)
    below, above = _newcombe(first, second, cluster, _correlation(sums / sizes, others / sizes))
    half = student(clusters) * error
    return max(mean - max(half, below), -1.0), min(mean + max(half, above), 1.0)


def bootstrap(statistic: Callable[[Floats], float], cluster: Array, draws: int = DRAWS) -> Interval | None:
    """Return the interval of a statistic of how often each example (n,) is drawn, clusters drawn with replacement.

    None with fewer than FEWEST clusters, and where all draws agree: an interval without width would claim too much.
    """
    from scipy.stats import bootstrap as scipy_bootstrap

    _, member = np.unique(cluster, return_inverse=True)
    clusters = int(member.max()) + 1
    if clusters < FEWEST:
        return None
    places = np.arange(clusters)
    found = scipy_bootstrap(
        (places,),
        lambda drawn: statistic(np.bincount(drawn, minlength=clusters)[member].astype(np.float64)),
        n_resamples=draws,
        batch=BATCH,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    tail = NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * student(clusters))
    low, high = np.quantile(found.bootstrap_distribution, (tail, 1 - tail))
    return (float(low), float(high)) if low < high else None


def _newcombe(first: Array, second: Array, cluster: Array, correlation: float) -> Interval:
    """Return how far the interval of a difference of rates reaches below and above it."""
    (low, high), (other_low, other_high) = rate_interval(first, cluster), rate_interval(second, cluster)
    rate, other = float(first.mean()), float(second.mean())

    def reach(one: float, two: float) -> float:
        return math.sqrt(max(one**2 - 2 * correlation * one * two + two**2, 0.0))

    return reach(rate - low, other_high - other), reach(high - rate, other - other_low)


def _correlation(first: Floats, second: Floats) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _totals(values: Array, cluster: Array) -> tuple[Floats, NDArray[np.int64]]:
    """Return the sum of the values of each cluster, and its size."""
    _, member = np.unique(cluster, return_inverse=True)
    sums = np.bincount(member, weights=values.astype(np.float64)).astype(np.float64)
    return sums, np.bincount(member).astype(np.int64)


@cache
def student(count: int) -> float:
    """Return half the width of Student's 95 % interval of a mean of so many values, in standard errors."""
    from scipy.stats import t

    return float(t.ppf(0.975, count - 1))
