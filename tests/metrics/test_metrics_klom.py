"""KLoM: by hand, at both extremes, against a naive loop, and its null."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearnbench.metrics.klom import CAP, klom, klom_gaussian


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def naive(p: np.ndarray, q: np.ndarray) -> float:
    """Easy Data Unlearning Bench's number for one row, in our own words: a bin for each margin, one by one."""
    p, q = (np.minimum(np.maximum(one, -100.0), 100.0) for one in (p, q))
    low, high = min(*p, *q), max(*p, *q)
    edges = np.linspace(low, high if high > low else low + 1, 21)
    counts = [[sum(1 for x in one if edges[k] <= x < edges[k + 1]) for k in range(20)] for one in (p, q)]
    shares = [[count / max(sum(one), 1) for count in one] for one in counts]
    return sum(a * math.log(a / max(b, 1e-5)) for a, b in zip(*shares, strict=True) if a > 0)


@pytest.mark.parametrize("models", [3, 16, 100])
def test_published_is_the_authors_number(models):
    rng = np.random.default_rng(models)
    unlearned, oracle = rng.normal(size=(models, 40)), rng.normal(0.5, 2, size=(models, 40))
    unlearned[:, 0] = oracle[:, 0] = 7.0
    unlearned[0, 1], oracle[1, 1] = 400, -400
    unlearned[:, 2] = 50.0  # all of it is the maximum, which is dropped
    pairs = list(zip(unlearned.T, oracle.T, strict=True))
    forward, reverse = [naive(u, o) for u, o in pairs], [naive(o, u) for u, o in pairs]
    assert klom(unlearned, oracle, published=True) == pytest.approx(forward, abs=1e-12)
    assert klom(unlearned, oracle, direction="reverse", published=True) == pytest.approx(reverse, abs=1e-12)


def test_by_hand():
    """Bins of width 1 over [0, 20]: shares 1/2, 1/2 against 1/4, 1/2, 1/4."""
    unlearned, oracle = column(0.5, 0.5, 1.5, 1.5), column(0.0, 1.5, 1.5, 20.0)
    assert klom(unlearned, oracle) == pytest.approx([0.5 * math.log(2)])
    assert klom(unlearned, oracle, direction="reverse") == pytest.approx(
        [0.25 * math.log(0.5) + 0.25 * CAP * 1 + 0.25 * math.log(0.25)]
    )


def test_both_extremes():
    one, other = column(0.0, 1.0, 2.0), column(50.0, 51.0, 53.0)
    assert klom(one, one) == pytest.approx([0]) and klom_gaussian(one, one) == pytest.approx([0])
    far = klom(one, other)[0]
    assert 0.9 * CAP < far <= CAP and klom_gaussian(one, other) == [CAP]


def test_the_largest_margin_is_in_the_last_bin():
    """All unlearned models are certain: the authors' function drops them all, and calls that perfect."""
    unlearned, oracle = np.full((8, 1), 100.0), np.linspace(-1, 1, 8)[:, None]
    assert klom(unlearned, oracle, published=True) == [0]
    assert klom(unlearned, oracle) == pytest.approx([CAP])


def test_gaussian_by_hand_and_for_a_method_that_gives_one_model():
    p, q = column(-1.0, 1.0), column(0.0, 4.0)  # means 0 and 2, variances 2 and 8
    assert klom_gaussian(p, q) == pytest.approx([math.log(2) + (2 + 4) / 16 - 0.5])
    assert klom_gaussian(p, q, "reverse") == pytest.approx([-math.log(2) + (8 + 4) / 4 - 0.5])
    same = column(0.0, 0.0)
    assert klom_gaussian(same, p) == pytest.approx([math.log(math.sqrt(2) / 0.01) + 0.01**2 / 4 - 0.5])


@pytest.mark.parametrize(("models", "binned", "gaussian"), [(16, 3.77, 0.15), (64, 0.61, 0.033), (200, 0.14, 0.01)])
def test_null_of_one_distribution(models, binned, gaussian):
    """The mean KLoM of two samples of one Gaussian: what a perfect method has."""
    one, other = np.random.default_rng(3).normal(size=(2, models, 1500))
    assert klom(one, other, published=True).mean() == pytest.approx(binned, rel=0.1)
    assert klom_gaussian(one, other).mean() == pytest.approx(gaussian, rel=0.15)
