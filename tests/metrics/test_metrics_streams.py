"""Come-backs of a stream and the success of a manipulation: by hand, at both extremes, and under the null."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.metrics.comeback import comebacks, largest_comeback, requests_above
from unlearnbench.metrics.corrective import attack_success

NONE = np.nan


def test_comebacks_by_hand():
    right = np.array([[0.1, NONE, NONE], [0.4, 0.2, NONE], [0.3, 0.1, 0.5]])
    expected = np.array([[NONE, NONE, NONE], [0.3, NONE, NONE], [0.2, -0.1, NONE]])
    np.testing.assert_allclose(comebacks(right), expected)
    assert largest_comeback(right) == pytest.approx(0.3)  # also where it went away again


def test_comebacks_at_their_extremes():
    assert largest_comeback(np.array([[0.0, NONE], [1.0, 0.0]])) == 1.0
    assert largest_comeback(np.array([[1.0, NONE], [0.0, 0.0]])) == -1.0
    assert largest_comeback(np.array([[0.5]])) is None


def test_comebacks_of_states_that_never_saw_the_rows_are_noise_around_zero():
    rng, rows, rate = np.random.default_rng(0), 200, 0.6
    draws = np.array([comebacks(rng.binomial(rows, rate, (4, 4)) / rows)[3, 0] for _ in range(300)])
    deviation = np.sqrt(2 * rate * (1 - rate) / rows)
    assert abs(draws.mean()) < 3 * deviation / np.sqrt(300) and draws.std() == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize(
    ("utility", "count"), [([1.0, 0.95, 0.9], 3), ([1.0, 0.89, 0.95], 1), ([0.5, 1.0], 0), ([0.9], 1)]
)
def test_requests_are_counted_until_utility_first_falls(utility, count):
    assert requests_above(np.array(utility), 0.9) == count


def test_an_attack_succeeds_where_it_is_aimed_at_rows_of_other_labels():
    wanted = np.array([0, 0, 0, 0, -1])
    label = np.array([0, 1, 2, 3, 1])
    assert attack_success(np.array([0, 0, 2, 0, 0]), label, wanted) == pytest.approx(2 / 3)
    assert attack_success(np.zeros(5), label, wanted) == 1.0 and attack_success(label, label, wanted) == 0.0
    assert attack_success(label, np.zeros(5), wanted) is None
