"""Tug of war and AUS by hand and at both extremes."""

from __future__ import annotations

import numpy as np
import pytest

from measured import METRICS, value
from unlearnbench.evidence import BySplit, Evidence, Scores


def model(**accuracies: float) -> BySplit:
    """Ten examples a split, so many of them right."""
    right = {name: np.arange(10) < round(10 * rate) for name, rate in accuracies.items()}
    return {
        name: Scores(np.stack([hit, ~hit], axis=1).astype(np.float32), np.zeros(10, dtype=np.int64), np.arange(10))
        for name, hit in right.items()
    }


def test_tug_of_war_by_hand_with_two_references() -> None:
    references = (model(forget=0.2, retain=1.0, test=0.8), model(forget=0.4, retain=1.0, test=0.6))
    subject = model(forget=0.5, retain=0.9, test=0.7)
    evidence = Evidence(subject, subject, references, (), False)
    assert value("tug_of_war", evidence, "forget") == pytest.approx(0.8 * 0.9 * 1.0)


def test_tug_of_war_extremes() -> None:
    good, bad = model(forget=0.0, retain=1.0, test=1.0), model(forget=1.0, retain=1.0, test=1.0)
    assert value("tug_of_war", Evidence(good, bad, (good,), (), False), "forget") == 1
    assert value("tug_of_war", Evidence(bad, bad, (good,), (), False), "forget") == 0


def test_aus_of_a_random_forget_set() -> None:
    subject, original = model(forget=0.9, test=0.6), model(forget=1.0, test=0.8)
    evidence = Evidence(subject, original, (), (), False)
    assert value("aus", evidence, "forget") == pytest.approx((1 - 0.2) / 1.3)


def test_aus_of_a_whole_class_looks_at_the_other_classes_only() -> None:
    subject = model(forget=0.1, test=0.0, test_retain=0.7)
    original = model(forget=1.0, test=0.8, test_retain=0.8)
    evidence = Evidence(subject, original, (), (), True)
    assert value("aus", evidence, "forget") == pytest.approx((1 - 0.1) / 1.1)


def test_aus_extremes() -> None:
    perfect, ruined = model(forget=0.0, test_retain=1.0), model(forget=1.0, test_retain=0.0)
    assert value("aus", Evidence(perfect, perfect, (), (), True), "forget") == 1
    assert value("aus", Evidence(ruined, perfect, (), (), True), "forget") == 0
    assert value("aus", Evidence(perfect, ruined, (), (), True), "forget") == METRICS["aus"].high


def test_aus_of_a_class_that_test_has_no_image_of_is_1_for_retrained_and_half_for_the_original() -> None:
    """Test is then all of test_retain. A target of the test accuracy would give .5 and 1.0."""
    original, retrained = (model(forget=rate, test=1.0, test_retain=1.0) for rate in (1.0, 0.0))
    assert value("aus", Evidence(retrained, original, (), (), True), "forget") == 1
    assert value("aus", Evidence(original, original, (), (), True), "forget") == 0.5


def test_aus_has_no_value_where_test_is_of_the_forgotten_class_alone() -> None:
    one = model(forget=1.0, test=1.0, test_forget=1.0)
    assert value("aus", Evidence(one, one, (), (), True), "forget") is None
