"""Where to stop: the distance of two samples, by hand, beside scipy's, and at its null."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from unlearnbench.metrics.stopping import best, by_chance, distance, mixed_like

DRAWS = np.random.default_rng(0)


def test_the_distance_is_0_for_equal_samples_and_1_for_samples_apart():
    values = np.array([0.3, 1.0, 1.0, 2.5])
    assert distance(values, values) == 0
    assert distance(values, values + 10) == distance(values + 10, values) == 1
    assert distance(np.array([0.0, 2.0]), np.array([1.0, np.inf])) == 0.5


def test_without_weights_it_is_scipys_with_ties_too():
    for count in (5, 40):
        one, other = DRAWS.normal(size=count).round(1), DRAWS.normal(0.5, size=30).round(1)
        assert distance(one, other) == pytest.approx(ks_2samp(one, other).statistic, abs=1e-12)


def test_a_weight_is_how_often_a_row_counts():
    one, other, times = DRAWS.normal(size=20), DRAWS.normal(size=9), np.arange(1, 10)
    repeated = distance(one, np.repeat(other, times))
    assert distance(one, other, times.astype(float)) == pytest.approx(repeated, abs=1e-12)


def test_rows_are_weighted_to_the_wanted_mix_of_labels():
    weight = mixed_like(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]))
    assert weight == pytest.approx([0.125, 0.125, 0.75, 0.0])


def test_two_samples_of_one_distribution_are_as_far_apart_as_said():
    one, other = 300, 200
    found = [distance(DRAWS.exponential(size=one), DRAWS.exponential(size=other)) for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.87 * np.sqrt(1 / one + 1 / other), rel=0.05)
    below = np.mean(np.array(found) < by_chance(one, np.full(other, 1 / other)))
    assert below == pytest.approx(0.95, abs=0.025)


def test_of_equally_good_points_the_least_harmful_and_then_the_first_is_best():
    assert best([0.5, 0.0, 0.0, 0.0], [0.0, 2.0, 1.0, 1.0]) == 2
    assert best([0.2, 0.1], [0.0, 9.0]) == 1
