"""Likelihood-ratio attacks: against a naive loop, at both extremes, and where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from unlearnbench.metrics.attack import area_under_curve
from unlearnbench.metrics.likelihood import FLOOR, attack, log_ratio, published, rates


def design(models, rows, seed=0):
    """Return who is a member and who is not, a third each of (models, rows), and a third neither."""
    states = np.tile(np.arange(models)[:, None] % 3, (1, rows))
    states = np.random.default_rng(seed).permuted(states, axis=0)
    return states == 2, states == 0


def naive(values, members, others, pooled):
    """The log ratio in loops: fit each side without the attacked model."""
    found = np.full(values.shape, np.nan)
    for model in range(values.shape[0]):
        fits = []
        for side in (members, others):
            others_of = [
                np.flatnonzero(side[:, row] & (np.arange(len(values)) != model)) for row in range(values.shape[1])
            ]
            left = [values[chosen, row] for row, chosen in enumerate(others_of)]
            fits.append(([np.mean(one) for one in left], [np.var(one, ddof=1) for one in left]))
        for row in range(values.shape[1]):
            if not (members[model, row] or others[model, row]):
                continue
            density = []
            for means, variances in fits:
                variance = max(np.mean(variances) if pooled else variances[row], FLOOR)
                density.append(norm.logpdf(values[model, row], means[row], np.sqrt(variance)))
            found[model, row] = density[0] - density[1]
    return found


@pytest.mark.parametrize(("models", "pooled"), [(9, True), (51, False)])
def test_the_ratio_is_that_of_a_naive_loop(models, pooled):
    members, others = design(models, 5)
    values = np.random.default_rng(1).normal(3.0, 2.0, members.shape)
    found = log_ratio(values, members, others)
    assert np.allclose(found, naive(values, members, others, pooled), rtol=1e-9, equal_nan=True)
    assert np.isnan(found[~(members | others)]).all() and np.isfinite(found[members | others]).all()


def test_sides_far_apart_are_always_told():
    members, others = design(16, 20)
    found = attack(np.random.default_rng(0).normal(0, 0.1, members.shape) + 10 * members, members, others)
    assert found.accuracy == found.auc == 1.0 and found.tpr["fpr_01"] == 1.0 and (found.by_example == 1).all()


def test_models_that_all_say_the_same_are_a_guess():
    members, others = design(16, 20)
    found = attack(np.zeros(members.shape), members, others)
    assert found.accuracy == found.auc == 0.5


def test_nothing_is_found_where_there_is_nothing():
    members, others = design(64, 300)
    generator = np.random.default_rng(3)
    values = generator.normal(generator.normal(0, 3, 300), 1, members.shape)
    found = attack(values, members, others)
    assert abs(found.accuracy - 0.5) < 0.01 and abs(found.auc - 0.5) < 0.015
    assert found.tpr["fpr_01"] < 0.02 and found.tpr["fpr_001"] < 0.005
    shifted = attack(values + members, members, others)
    assert 0.66 < shifted.accuracy < 0.70  # the best attack there is has .691


def test_few_negatives_show_no_small_rate():
    some = np.arange(150.0)
    assert dict(rates(some, some)).keys() == {"fpr_01"}
    assert dict(rates(np.array([149.5, 10.0]), some))["fpr_01"] == 0.5


def test_area_counts_pairs():
    positive, negative = np.array([1.0, 2.0, 2.0]), np.array([0.0, 2.0])
    pairs = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    assert area_under_curve(positive, negative) == pytest.approx(pairs)


def test_the_published_variant_takes_correctness_and_its_own_point():
    members, others = design(12, 6)
    right = (np.random.default_rng(2).random(members.shape) < 0.5).astype(float)
    right[members[:, 0], 0] = 1.0  # a row without variance on one side has no number
    expected = []
    for row in range(6):
        mine, theirs = right[members[:, row], row], right[others[:, row], row]
        if mine.std() and theirs.std():
            densities = [norm.pdf(mine, side.mean(), side.std()) for side in (mine, theirs)]
            expected += list(densities[0] / (densities[0] + densities[1]))
    assert published(right, members, others) == pytest.approx(np.mean(expected))
    assert np.isnan(published(np.ones(members.shape), members, others))
