"""Intervals over examples: hand-computed where draws are binomial, else against drawing rows one set after another."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binom

from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import catalogue
from unlearnbench.report.bootstrap import COUNTED, interval_over_examples


def scores(rows, classes=4, seed=0, lift=1.0):
    """Random logits that favour the label by `lift`; the last class has half of the examples."""
    random = np.random.default_rng(seed)
    label = np.minimum(random.integers(2 * classes, size=rows), classes - 1)
    logits = random.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), label] += np.float32(lift)
    return Scores(logits, label, np.arange(rows))


def test_accuracy_has_the_quantiles_of_the_binomial_distribution():
    subject = scores(200)
    share = float((subject.prediction == subject.label).mean())
    expected = binom.ppf([0.025, 0.975], 200, share) / 200
    assert interval_over_examples("accuracy", subject) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("lift", "value"), [(99.0, 1.0), (-99.0, 0.0)])
@pytest.mark.parametrize("metric", COUNTED)
def test_what_every_example_agrees_on_has_no_width(metric, lift, value):
    assert interval_over_examples(metric, scores(50, lift=lift)) == (value, value)


@pytest.mark.parametrize("metric", [*COUNTED, "loss", "kl_from_retrained", "js_to_retrained", "activation_distance"])
def test_intervals_are_those_of_rows_drawn_again_and_again(metric):
    subject, references = scores(120), [scores(120, seed=1), scores(120, seed=2)]
    known = {one.name: one for one in catalogue()}[metric]
    random, drawn = np.random.default_rng(3), []
    for _ in range(2000):
        chosen = random.integers(120, size=120)
        split = [{"forget": one.rows(chosen)} for one in (subject, *references)]
        drawn.append(known.compute(Evidence(split[0], split[0], tuple(split[1:]), (), whole_class=False), "forget"))
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert interval_over_examples(metric, subject, references) == pytest.approx((low, high), abs=0.15 * (high - low))


@pytest.mark.parametrize("metric", ["zrf", "mia_confidence", "tug_of_war", "aus", "truth_ratio"])
def test_what_is_no_function_of_these_scores_has_no_interval(metric):
    assert interval_over_examples(metric, scores(20), [scores(20)]) is None


def test_a_distance_without_references_has_no_interval():
    assert interval_over_examples("js_to_retrained", scores(20)) is None


def test_the_seed_is_fixed():
    assert interval_over_examples("loss", scores(40)) == interval_over_examples("loss", scores(40))


def test_ten_thousand_examples_take_less_than_a_second():
    subject = scores(10_000, classes=10)
    started = time.process_time()
    interval_over_examples("accuracy", subject)
    assert time.process_time() - started < 1
