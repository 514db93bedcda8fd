"""Equivalence: both tests by hand and against SciPy, their errors by simulation, and Holm's correction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from unlearnbench.metrics.equivalence import REFERENCES, among, farthest, holm, overall, paired, verdict


def test_by_hand():
    """Mean .01, standard deviation .01 of three: t is 3 and -1 over 1/sqrt 3, with two degrees of freedom."""
    found = paired([0.0, 0.01, 0.02], margin=0.02)
    root = math.sqrt(3)
    low, high = (0.5 - t / (2 * math.sqrt(2 + t**2)) for t in (3 * root, 1 * root))  # the tail of t with 2 degrees
    assert found.p_equivalent == pytest.approx(max(low, high))
    assert found.p_different == pytest.approx(2 * high)
    assert (found.mean, found.n) == (pytest.approx(0.01), 3)
    assert found.high - found.mean == pytest.approx(2.919985580 * 0.01 / root)


def test_scipy_has_the_same_p():
    values = np.random.default_rng(0).normal(0.005, 0.02, 7)
    found = paired(values, margin=0.03)
    two = [
        stats.ttest_1samp(values, bound, alternative=side).pvalue
        for bound, side in ((-0.03, "greater"), (0.03, "less"))
    ]
    assert found.p_equivalent == pytest.approx(max(two), rel=1e-12)
    assert found.p_different == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-12)


def test_the_interval_is_within_the_margin_just_where_equivalence_is_shown():
    rng = np.random.default_rng(1)
    for _ in range(200):
        found = paired(rng.normal(rng.normal(0, 0.01), 0.01, 4), margin=0.02)
        assert (found.p_equivalent <= 0.05) == (found.low >= -0.02 and found.high <= 0.02)


def test_no_difference_found_is_not_equivalence():
    assert verdict(0.2, 0.9) == "undecided"
    assert verdict(math.nan, math.nan) == "undecided"
    noisy = paired([-0.3, 0.3, 0.01], margin=0.02)
    assert noisy.p_different > 0.9 and verdict(noisy.p_equivalent, noisy.p_different) == "undecided"


def test_a_difference_below_the_margin_is_equivalent_and_one_beyond_it_is_different():
    small, large = (paired(mean + np.array([-1, 0, 1, 0]) * 1e-4, margin=0.02) for mean in (0.01, 0.5))
    assert small.p_different < 0.01 and verdict(small.p_equivalent, small.p_different) == "equivalent"
    assert verdict(large.p_equivalent, large.p_different) == "different"


def test_one_seed_tests_nothing():
    one = paired([0.0], margin=0.02)
    assert math.isnan(one.p_equivalent) and math.isnan(one.p_different)
    assert verdict(one.p_equivalent, one.p_different) == "undecided"
    assert paired([], margin=0.02).n == 0


def test_seeds_that_agree_by_chance_have_the_spread_of_one_row():
    """Of 20 rows one is .05, more than the margin; of 500 it is .002."""
    few, many = (paired([0.0, 0.0, 0.0], margin=0.02, least=1 / rows) for rows in (20, 500))
    assert verdict(few.p_equivalent, few.p_different) == "undecided"
    assert verdict(many.p_equivalent, many.p_different) == "equivalent"
    assert paired([0.0] * 3, margin=0.02).p_equivalent == 0.5**3
    assert paired([0.1] * 3, margin=0.02).p_different == 2 * 0.5**3


def test_a_margin_is_a_positive_number():
    for margin in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="margin"):
            paired([0.0, 0.1], margin)


@pytest.mark.parametrize("seeds", [3, 10])
def test_false_claims_are_at_most_one_in_twenty(seeds):
    """Equal models are called different, and models a margin apart equivalent, in at most .05 of cases."""
    rng = np.random.default_rng(2)
    null = [paired(rng.normal(0, 0.01, seeds), 0.02) for _ in range(2000)]
    apart = [paired(rng.normal(0.02, 0.01, seeds), 0.02) for _ in range(2000)]
    slack = 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert np.mean([one.p_different <= 0.05 for one in null]) == pytest.approx(0.05, abs=slack)
    assert np.mean([one.p_equivalent <= 0.05 for one in apart]) <= 0.05 + slack
    assert np.mean([verdict(one.p_equivalent, 1) == "equivalent" for one in null]) > (0.4 if seeds == 3 else 0.99)


def test_the_place_among_the_references_has_an_honest_floor():
    assert among(9.0, [0.0, 0.1, 0.2, 0.3]) == 1 / 5
    assert among(0.15, [0.0, 0.1, 0.2, 0.3]) == 1.0
    assert among(0.0, [0.0, 0.0]) == 1.0
    assert farthest(3.0, [1.0, 3.0, 2.0, 0.0]) == 2 / 5
    assert among(9.0, np.linspace(0, 1, REFERENCES).tolist()) == pytest.approx(0.05)


def test_the_place_of_one_more_reference_is_uniform():
    rng = np.random.default_rng(3)
    found = [among(values[0], values[1:]) for values in rng.normal(size=(4000, 5)).tolist()]
    shares = np.bincount(np.round(np.array(found) * 5).astype(int), minlength=6)[1:] / 4000
    assert shares == pytest.approx(np.full(5, 0.2), abs=0.025)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert np.array_equal(holm([0.02, math.nan, 0.04]), [0.04, math.nan, 0.04], equal_nan=True)
    assert len(holm([])) == 0


def test_holm_keeps_the_chance_of_any_false_claim():
    p = np.random.default_rng(4).uniform(size=(3000, 10))
    assert np.mean([holm(row).min() <= 0.05 for row in p]) == pytest.approx(0.05, abs=0.012)


def test_all_metrics_must_be_equivalent_and_one_can_be_different():
    assert overall([0.01, 0.04], [0.5, 0.5]) == "equivalent"
    assert overall([0.01, 0.2], [0.5, 0.02]) == "different"
    assert overall([0.01, 0.2], [0.5, 0.04]) == "undecided"
    assert overall([0.01, math.nan], [0.5, math.nan]) == "undecided"
    assert overall([], []) == "undecided"
