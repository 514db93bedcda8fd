"""The forgetting score: by hand, at both extremes, against a naive loop, and its null."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearnbench.metrics.forgetting_score import epsilons, forgetting_score

DELTA = 1e-5


def naive(unlearned: np.ndarray, retrained: np.ndarray) -> float:
    """Return one row's epsilon in our own words: every attack of the authors, tried model by model."""
    upper, lower = (retrained, unlearned) if np.median(retrained) > np.median(unlearned) else (unlearned, retrained)
    widths = upper.max() - upper.min(), lower.max() - lower.min()
    if min(widths) / max(widths) < 0.01:
        return 50.0
    low, high = min(upper.min(), lower.min()), max(upper.max(), lower.max())
    attacks = [(cut, math.inf, upper, lower) for cut in np.linspace(low, high, math.ceil((high - low) * 100))]
    narrow, wide = (lower, upper) if widths[0] >= widths[1] else (upper, lower)
    width = min(widths)
    first, last = narrow.min() + width - 2.0, narrow.max() + 2.0
    for right in np.linspace(first, last, math.ceil((last - first) * 100)):
        attacks += [(left, right, narrow, wide) for left in np.linspace(right - width - 2.0, right - width + 2.0, 400)]
    best = 0.0
    for pair in {
        (sum(not left <= x <= right for x in one) / len(one), sum(left <= x <= right for x in other) / len(other))
        for left, right, one, other in attacks
    }:
        best = max(best, _of_rates(*pair))
    return best


def _of_rates(fnr: float, fpr: float) -> float:
    if fnr == fpr == 0:
        return 50.0
    if fnr == 0 or fpr == 0:
        return 0.0
    both = [(1 - DELTA - fpr, fnr), (1 - DELTA - fnr, fpr)]
    return max([0.0, *(min(math.log(above) - math.log(below), 50.0) for above, below in both if above > 0)])


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 0.3), (0.2, 4.0), (-3.0, 1.0)])
def test_epsilon_is_the_authors_number(shift, scale):
    rng = np.random.default_rng(5)
    unlearned, retrained = rng.normal(shift, scale, size=(6, 1)), rng.normal(size=(6, 1))
    assert epsilons(unlearned, retrained) == pytest.approx([naive(unlearned[:, 0], retrained[:, 0])], abs=1e-12)


def test_by_hand():
    """Thresholds miss one of four, or take one of four for the other kind."""
    unlearned, retrained = np.array([[0.0], [1.0], [2.0], [3.5]]), np.array([[3.0], [4.0], [5.0], [6.0]])
    assert epsilons(unlearned, retrained)[0] == pytest.approx(math.log((1 - DELTA - 0.25) / 0.25))


def test_both_extremes():
    apart, near = np.arange(8.0)[:, None], np.arange(8.0)[:, None] + 100
    assert epsilons(apart, near) == [50] and forgetting_score(epsilons(apart, near), 8) == 0
    same = np.full((8, 1), 3.0)
    assert epsilons(same, same) == [0] and forgetting_score(np.zeros(1), 8) == 1
    assert epsilons(same, same + 1) == [50]
    assert epsilons(same, apart) == [50], "a method that gives one model every time"


def test_buckets_halve_and_end():
    """ceil(ln 7) = 2: four buckets of .5."""
    assert forgetting_score(np.array([0.0, 0.49, 0.5, 1.2, 1.9, 2.0]), 8) == pytest.approx(
        (1 + 1 + 0.5 + 0.25 + 0.125) / 6
    )
    assert forgetting_score(np.zeros(3), 2) == 0


@pytest.mark.parametrize("models", [16, 64])
def test_null_of_one_distribution(models):
    """What a perfect method has: about .2, far below 1."""
    one, other = np.random.default_rng(1).normal(size=(2, models, 200))
    assert 0.15 < forgetting_score(epsilons(one, other), models) < 0.24
