"""Intervals by cluster: by hand at both ends of dependence, and by simulation of a truth that is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from unlearnbench.metrics.intervals import bootstrap, difference_interval, effective, rate_interval, wilson

Rates = NDArray[np.float64]
ROWS = 12
"""In each cluster of the simulations."""


def hits(*rates: int, of: int = ROWS) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the rows of clusters with so many hits each, and the number of the cluster of each row."""
    rows = np.concatenate([np.arange(of) < count for count in rates])
    return rows, np.repeat(np.arange(len(rates)), of)


def test_rows_that_are_copies_within_a_template_have_the_interval_of_the_templates() -> None:
    templates = np.array([True, False, True, True, False, True, False])
    copies, cluster = np.repeat(templates, 30), np.repeat(np.arange(7), 30)
    assert effective(copies, cluster) == pytest.approx(7)
    assert rate_interval(copies, cluster) == pytest.approx(wilson(4 / 7, 7))
    assert rate_interval(copies, cluster) == pytest.approx(rate_interval(templates, np.arange(7)))
    retrained = ~templates
    many = difference_interval(copies, np.repeat(retrained, 30), cluster)
    assert many == pytest.approx(difference_interval(templates, retrained, np.arange(7)))


@pytest.mark.parametrize("right", [0, 1, 7, 20])
def test_rows_that_are_clusters_by_themselves_have_wilsons_interval(right: int) -> None:
    rows = np.arange(20) < right
    assert rate_interval(rows, np.arange(20)) == wilson(right / 20, 20)


@pytest.mark.parametrize(("count", "ends"), [(0, (0.0, 0.2425)), (12, (0.7575, 1.0))])
def test_a_rate_on_which_all_templates_agree_counts_each_once(count: int, ends: tuple[float, float]) -> None:
    """0 of 144 in 12 templates: z^2 / (12 + z^2), not z^2 / (144 + z^2) = .026."""
    assert rate_interval(*hits(*[count] * 12)) == pytest.approx(ends, abs=1e-4)


def test_what_rows_are_worth_by_hand() -> None:
    """Rates .25, .5, .75: between them .0625 * (2 + 0) / (3 * 2) = 1/48; 1 + .25 * 48 = 13, times (z / t(2))^2."""
    rows, cluster = hits(3, 6, 9)
    assert effective(rows, cluster) == pytest.approx(max(13 * (1.959964 / 4.302653) ** 2, 3))
    assert effective(*hits(6, 6, 6)) == 36  # no difference between clusters: each row counts


def test_unequal_clusters_are_worth_no_less_than_their_squares_say() -> None:
    cluster = np.repeat([0, 1, 2], [8, 1, 1])
    assert effective(np.ones(10), cluster) == pytest.approx(100 / 66)


def test_neither_the_order_of_rows_nor_the_names_of_clusters_matter() -> None:
    rows, cluster = hits(1, 12, 7, 0, 5, 6)
    order = np.random.default_rng(0).permutation(len(rows))
    other, _ = hits(0, 7, 7, 1, 0, 9)
    expected, again = difference_interval(rows, other, cluster), (rows[order], other[order], 90 - 7 * cluster[order])
    assert difference_interval(*again) == pytest.approx(expected)
    assert rate_interval(again[0], again[2]) == pytest.approx(rate_interval(rows, cluster))


def test_the_difference_of_models_that_err_on_the_same_templates_is_narrower_than_their_rates_say() -> None:
    (rows, cluster), (other, _) = hits(12, 9, 6, 12, 5, 8, 10, 11), hits(9, 6, 3, 9, 2, 5, 7, 8)
    low, high = difference_interval(rows, other, cluster)
    assert low > 0 and high - low < 0.4
    assert rate_interval(rows, cluster)[0] < rate_interval(other, cluster)[1]


def test_a_difference_on_which_all_templates_agree_has_a_width_and_one_template_says_nothing() -> None:
    (rows, cluster), (other, _) = hits(*[12] * 12), hits(*[0] * 12)
    low, high = difference_interval(rows, other, cluster)
    assert (low, high) == (pytest.approx(1 - 0.2425 * 2**0.5, abs=1e-4), 1.0)
    assert difference_interval(*(one[:12] for one in (rows, other, cluster))) == (-1.0, 1.0)


def test_a_bootstrap_of_copies_is_that_of_the_clusters_and_few_have_none() -> None:
    values = np.random.default_rng(1).exponential(size=9)

    def mean_of(rows: Rates, cluster: NDArray[np.int64]) -> tuple[float, float] | None:
        return bootstrap(lambda times: float(np.average(rows, weights=times)), cluster)

    alone, copies = mean_of(values, np.arange(9)), mean_of(np.repeat(values, 40), np.repeat(np.arange(9), 40))
    assert alone is not None and copies == pytest.approx(alone)
    assert mean_of(values[:4], np.arange(4)) is None
    assert mean_of(np.ones(9), np.arange(9)) is None


def drawn(random: np.random.Generator, rate: float, alike: float, clusters: int) -> Rates:
    """Draw the rate of each cluster from a beta distribution; `alike` is the correlation of its rows, above 0."""
    if alike == 1:
        return (random.random(clusters) < rate).astype(np.float64)
    size = (1 - alike) / alike
    return random.beta(rate * size, (1 - rate) * size, clusters)


@pytest.mark.parametrize("clusters", [3, 6, 12])
@pytest.mark.parametrize("rate", [0.2, 0.5])
@pytest.mark.parametrize("alike", [0.02, 0.1, 0.4, 0.8, 1.0])
def test_a_rates_interval_holds_the_truth_nearly_as_often_as_it_says(clusters: int, rate: float, alike: float) -> None:
    """At least .88 of the time, where .95 is meant; rows taken as independent hold it as seldom as never."""
    random, held = np.random.default_rng(0), []
    for _ in range(400):
        rows, cluster = hits(*random.binomial(ROWS, drawn(random, rate, alike, clusters)).tolist())
        low, high = rate_interval(rows, cluster)
        held.append(low <= rate <= high)
    assert np.mean(held) > 0.87


@pytest.mark.parametrize("clusters", [3, 6, 12])
@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.1, 0.1), (0.8, 0.3), (0.95, 0.05)])
@pytest.mark.parametrize("alike", [0.1, 0.5, 0.9])
def test_a_differences_interval_holds_the_truth_and_seldom_lies_above_none(
    clusters: int, rates: tuple[float, float], alike: float
) -> None:
    random, held, above = np.random.default_rng(0), [], []
    for _ in range(400):
        one, two = (random.binomial(ROWS, drawn(random, rate, alike, clusters)).tolist() for rate in rates)
        (first, cluster), (second, _) = hits(*one), hits(*two)
        low, high = difference_interval(first, second, cluster)
        held.append(low <= rates[0] - rates[1] <= high)
        above.append(low > 0)
    assert np.mean(held) > 0.89
    assert rates[0] > rates[1] or np.mean(above) < 0.055  # of .025, with what 400 draws can be off
    assert rates[0] - rates[1] < 0.9 or clusters < 6 or np.mean(above) > 0.94
