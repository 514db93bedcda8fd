"""Attacks on stored scores: values by hand, the authors' functions as naive loops, and the nulls by simulation."""

from __future__ import annotations

import math
from functools import partial
from statistics import fmean

import numpy as np
import pytest
from scipy.special import expit

from unlearnbench.evidence import Scores
from unlearnbench.metrics.attack import label_probability
from unlearnbench.metrics.confidence import confidence
from unlearnbench.metrics.referenced import calibrated, difference, dominated, likelihood_ratio, rmia
from unlearnbench.metrics.told_apart import alone, leave_one_out, told_apart

RMIA = partial(rmia, a=0.3, gamma=1.0)


def values(rows):
    return {(row.role, row.metric): row.value for row in rows}


def split(logits, index=0):
    logits = np.asarray(logits, dtype=np.float32)
    return Scores(logits, np.zeros(len(logits), dtype=np.int64), np.arange(len(logits)) + index)


def model(forget, test):
    """A model of two classes that gives the label these logits less than 0."""
    return {
        name: split(np.stack([side, np.zeros(len(side))], axis=1), index)
        for name, side, index in (("forget", forget, 0), ("test", test, 10_000))
    }


def test_extremes_and_a_value_by_hand():
    high, low = np.arange(200.0) + 1000, np.arange(1000.0)
    assert told_apart(high, low) == {"auc": 1.0, "tpr_fpr_01": 1.0, "tpr_fpr_001": 1.0}
    assert told_apart(low, high) == {"auc": 0.0, "tpr_fpr_01": 0.0}
    assert told_apart(np.ones(5), np.ones(5)) == {"auc": 0.5}
    # of others 0 ... 199, two may pass: the bar is 197
    assert told_apart(np.array([196.5, 197.0, 197.5, 300.0]), np.arange(200.0))["tpr_fpr_01"] == 0.5


def test_shares_are_left_out_below_one_false_alarm():
    rng = np.random.default_rng(0)
    assert set(told_apart(rng.normal(size=30), rng.normal(size=99))) == {"auc"}
    assert set(told_apart(rng.normal(size=30), rng.normal(size=100))) == {"auc", "tpr_fpr_01"}
    assert set(told_apart(rng.normal(size=30), rng.normal(size=999))) == {"auc", "tpr_fpr_01"}


def test_shares_are_those_of_a_receiver_operating_curve():
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(1)
    members, others = rng.normal(1, 1, 400).round(1), rng.normal(0, 1, 1300).round(1)
    false, true, _ = roc_curve([1] * 400 + [0] * 1300, np.concatenate([members, others]), drop_intermediate=False)
    for rate, name in ((0.01, "tpr_fpr_01"), (0.001, "tpr_fpr_001")):
        assert told_apart(members, others)[name] == true[false <= rate][-1]


def test_the_share_of_alike_members_is_a_little_above_the_rate():
    rng = np.random.default_rng(2)
    found = [told_apart(rng.normal(size=100), rng.normal(size=100))["tpr_fpr_01"] for _ in range(400)]
    assert np.mean(found) == pytest.approx(2 / 101, abs=0.004)


def authors_rmia(target, references, z_target, z_references, a):
    """ml_privacy_meter's run_rmia where no reference has a row: every ratio against every other, one by one."""
    found = []
    for x in range(len(target)):
        mean = sum(one[x] for one in references) / len(references)
        ratio = target[x] / ((1 + a) / 2 * mean + (1 - a) / 2)
        above = 0
        for z in range(len(z_target)):
            z_mean = sum(one[z] for one in z_references) / len(z_references)
            above += ratio / (z_target[z] / ((1 + a) / 2 * z_mean + (1 - a) / 2)) > 1.0
        found.append(above / len(z_target))
    return found


@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_rmia_equals_the_authors_function(a):
    rng = np.random.default_rng(3)
    target, z_target = rng.random(30), rng.random(40)
    references, z_references = rng.random((3, 30)), rng.random((3, 40))
    ratios = likelihood_ratio(target, references, a)
    population = likelihood_ratio(z_target, z_references, a)
    expected = authors_rmia(target, references, z_target, z_references, a)
    assert dominated(ratios, population, 1.0).tolist() == expected
    # held-out rows, without the comparison with themselves
    sides = [(references[k], z_references[k]) for k in range(3)]
    members, others = rmia((target, z_target), sides, a, 1.0)
    among = authors_rmia(z_target, z_references, z_target, z_references, a)
    assert members.tolist() == expected and others == pytest.approx(np.array(among) * 40 / 39, abs=1e-15)
    assert (dominated(ratios, population, 2.0) <= dominated(ratios, population, 1.0)).all()


def test_rmia_of_certain_and_of_impossible_answers_is_a_number():
    sides = (np.array([1.0, 0.0]), np.array([1.0, 0.0, 1.0]))
    members, others = rmia(sides, [sides], a=1.0, gamma=1.0)
    assert members.tolist() == [1 / 3, 0.0] and others.tolist() == [0.5, 0.0, 0.5]


def test_calibration_by_hand_and_as_a_loop():
    assert calibrated(np.array([1.0, 5.0]), np.array([[0.0, 4.0], [1.0, 8.0]])).tolist() == [0.5, -1.0]
    rng = np.random.default_rng(4)
    loss, reference = rng.random(20), rng.random(20)  # open-unlearning's attack is this with the other sign
    assert (-calibrated(-loss, -reference[None])).tolist() == pytest.approx(
        [one - other for one, other in zip(loss, reference, strict=True)], abs=1e-15
    )


def drawn(rng, shift=0.0, difficulty=None):
    """A model's logits: a row's own difficulty, noise of the model, and forget rows `shift` higher."""
    easy, hard = difficulty
    return model(easy + shift + rng.normal(size=len(easy)), hard + rng.normal(size=len(hard)))


def simulated(count, shift, seed, rows=120):
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(1, 2, rows), rng.normal(1, 2, rows)
    retrained = [drawn(rng, 0.0, difficulty) for _ in range(count)]
    return drawn(rng, 1.0, difficulty), retrained, drawn(rng, shift, difficulty)


@pytest.mark.parametrize("attack, signal", [(RMIA, label_probability), (difference, confidence)])
def test_a_model_like_the_retrained_ones_has_a_gap_of_zero_and_the_original_none(attack, signal):
    gaps, targets, floors = [], [], []
    for seed in range(40):
        original, retrained, unlearned = simulated(3, 0.0, seed)
        found = values(leave_one_out("x", attack, signal, original, retrained, unlearned, False))
        gaps.append(found["unlearned", "gap_x_auc"])
        targets.append(found["retrained", "x_auc"])
        floors.append(found["retrained", "floor_x_auc"])
        assert found["original", "x_auc"] > 0.6
    # the mean of 40 gaps of about .04: within two and a half standard errors
    assert abs(np.mean(gaps)) < 0.016 and np.mean(targets) == pytest.approx(0.5, abs=0.016)
    # the floor is what such a gap measures
    assert np.mean(floors) == pytest.approx(np.mean(np.abs(gaps)), rel=0.35)


def test_references_make_an_attack_stronger_than_the_loss_alone():
    original, retrained, _ = simulated(5, 0.0, 1, rows=1000)
    unreferenced = values(alone("x", label_probability, original, retrained, original, False))["original", "x_auc"]
    by_rmia, by_difference = (
        values(leave_one_out("x", attack, signal, original, retrained, original, False))["original", "x_auc"]
        for attack, signal in ((RMIA, label_probability), (difference, confidence))
    )
    assert unreferenced + 0.03 < by_rmia < by_difference


def test_gaps_are_to_the_mean_of_the_others_by_hand():
    original, retrained, unlearned = simulated(2, 0.5, 7)
    found = values(leave_one_out("x", difference, confidence, original, retrained, unlearned, False))
    one, other = ({name: confidence(scores[name]) for name in scores} for scores in retrained)
    mine = {name: confidence(unlearned[name]) for name in unlearned}
    against = [told_apart(*(mine[name] - rest[name] for name in ("forget", "test")))["auc"] for rest in (one, other)]
    assert found["retrained", "x_auc"] == 0.5  # two attacks on each other mirror
    assert found["unlearned", "x_auc"] == pytest.approx(fmean(against))
    assert found["unlearned", "gap_x_auc"] == pytest.approx(fmean(against) - 0.5)
    assert not any(metric.startswith("floor_") for _, metric in found)
    assert not math.isclose(found["unlearned", "gap_x_auc"], 0)


def test_alone_has_gaps_with_one_reference_floors_with_two_and_neither_without():
    original, retrained, unlearned = simulated(3, 0.5, 8)

    def found(count):
        return values(alone("x", label_probability, original, retrained[:count], unlearned, False))

    assert set(found(0)) == {(role, f"x_{key}") for role in ("original", "unlearned") for key in
                             ("auc", "tpr_fpr_01")}  # fmt: skip
    assert ("unlearned", "gap_x_auc") in found(1) and ("retrained", "floor_x_auc") not in found(1)
    areas = [
        told_apart(label_probability(one["forget"]), label_probability(one["test"]))["auc"] for one in retrained[:2]
    ]
    assert found(2)["retrained", "floor_x_auc"] == pytest.approx(abs(areas[0] - areas[1]))
    assert found(2)["unlearned", "gap_x_auc"] == found(2)["unlearned", "x_auc"] - fmean(areas)


@pytest.mark.parametrize("each", [3, 21])
def test_rmia_with_references_that_left_a_row_out_is_at_its_null_for_a_model_like_the_others(each):
    rng, areas, before = np.random.default_rng(9), [], []
    for _ in range(40):
        rows = rng.normal(1, 2, 120), rng.normal(1, 2, 200)

        def said(shift, rows=rows):
            return tuple(expit(side + up + rng.normal(size=len(side))) for side, up in zip(rows, shift, strict=True))

        expected = tuple(expit(side + rng.normal(size=(each, len(side)))).mean(axis=0) for side in rows)
        areas.append(told_apart(*RMIA(said((0, 0)), [expected]))["auc"])
        before.append(told_apart(*RMIA(said((1, 0)), [expected]))["auc"])
    assert np.mean(areas) == pytest.approx(0.5, abs=0.015) and np.mean(before) > 0.65
