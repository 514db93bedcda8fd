"""Intervals over examples: Wilson's by hand, the bootstrap against drawing rows one set after another, by cluster."""

from __future__ import annotations

import time

import numpy as np
import pytest

from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import catalogue
from unlearnbench.report.bootstrap import COUNTED, RATES, interval_over_examples

BOOTSTRAPPED = (*COUNTED, "loss", "kl_from_retrained", "js_to_retrained", "js_published", "activation_distance")


def scores(rows, classes=4, seed=0, lift=1.0):
    """Random logits that favour the label by `lift`; the last class has half of the examples."""
    random = np.random.default_rng(seed)
    label = np.minimum(random.integers(2 * classes, size=rows), classes - 1)
    logits = random.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), label] += np.float32(lift)
    return Scores(logits, label, np.arange(rows))


@pytest.mark.parametrize("metric", RATES)
def test_a_share_of_right_examples_has_wilsons_interval(metric):
    """By hand, z = 1.96: 0 of 20 is 0 to z^2 / (20 + z^2); 10 of 20 is .5 +- z sqrt(5 + z^2 / 4) / (20 + z^2)."""
    z2 = 1.959963984540054**2
    none, half = scores(20, lift=-99.0), scores(20, lift=99.0)
    half.label[:10] = (half.prediction[:10] + 1) % 4
    width = (z2 * (5 + z2 / 4)) ** 0.5 / (20 + z2)
    assert interval_over_examples(metric, [none]) == pytest.approx((0.0, z2 / (20 + z2)), abs=1e-6)
    assert interval_over_examples(metric, [half]) == pytest.approx((0.5 - width, 0.5 + width), abs=1e-6)


@pytest.mark.parametrize("lift", [99.0, -99.0])
@pytest.mark.parametrize("metric", COUNTED)
def test_what_every_example_agrees_on_has_no_bootstrap(metric, lift):
    assert interval_over_examples(metric, [scores(50, lift=lift)]) is None


def test_two_retrained_models_have_the_interval_of_their_mean():
    """One is always right, the other never: half of 40 examples are, and Wilson's interval is about .5."""
    right, wrong, alone = scores(40, lift=99.0), scores(40, lift=-99.0), scores(40)
    assert sum(interval_over_examples("accuracy", [right, wrong])) == pytest.approx(1.0)
    assert interval_over_examples("loss", [alone, alone]) == interval_over_examples("loss", [alone])
    assert interval_over_examples("loss", [alone, right]) != interval_over_examples("loss", [alone])
    assert interval_over_examples("f1_macro", [scores(40), scores(40, seed=1)]) is None


@pytest.mark.parametrize("metric", BOOTSTRAPPED)
def test_intervals_are_those_of_rows_drawn_again_and_again(metric):
    subject, references = scores(120), [scores(120, seed=1), scores(120, seed=2)]
    known = {one.name: one for one in catalogue()}[metric]
    random, drawn = np.random.default_rng(3), []
    for _ in range(2000):
        chosen = random.integers(120, size=120)
        split = [{"forget": one.rows(chosen)} for one in (subject, *references)]
        drawn.append(known.compute(Evidence(split[0], split[0], tuple(split[1:]), (), whole_class=False), "forget"))
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert interval_over_examples(metric, [subject], references) == pytest.approx((low, high), abs=0.15 * (high - low))


def copied(one, times):
    """Each row so many times: the rows of a template that are all alike."""
    rows = np.repeat(np.arange(len(one)), times)
    return Scores(one.logits[rows], one.label[rows], np.arange(len(rows)), {"cluster": rows})


@pytest.mark.parametrize("metric", [*RATES, *BOOTSTRAPPED])
def test_rows_that_are_copies_within_a_template_have_the_interval_of_the_templates(metric):
    subject, reference = scores(30), scores(30, seed=1)
    found = interval_over_examples(metric, [copied(subject, 25)], [copied(reference, 25)])
    assert found == pytest.approx(interval_over_examples(metric, [subject], [reference]))


@pytest.mark.parametrize("metric", BOOTSTRAPPED)
def test_fewer_than_five_templates_have_no_bootstrap(metric):
    four = [copied(scores(4, lift=0.0, seed=seed), 50) for seed in range(2)]
    assert interval_over_examples(metric, four[:1], four[1:]) is None
    assert interval_over_examples("accuracy", four[:1]) is not None


@pytest.mark.parametrize("metric", ["zrf", "mia_confidence", "tug_of_war", "aus", "truth_ratio"])
def test_what_is_no_function_of_these_scores_has_no_interval(metric):
    assert interval_over_examples(metric, [scores(20)], [scores(20)]) is None


def test_a_distance_without_references_has_no_interval():
    assert interval_over_examples("js_to_retrained", [scores(20)]) is None


def test_the_seed_is_fixed():
    assert interval_over_examples("loss", [scores(40)]) == interval_over_examples("loss", [scores(40)])


def test_ten_thousand_examples_take_less_than_a_second():
    subject = scores(10_000, classes=10)
    started = time.process_time()
    interval_over_examples("f1_macro", [subject])
    assert time.process_time() - started < 1
