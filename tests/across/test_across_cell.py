"""Numbers over seeds: what is drawn, and that a perfect method is within its null."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.across.cell import Compared, Models, over_draws, side
from unlearnbench.across.forgetting_score import ForgettingScoreAcross
from unlearnbench.across.kinds import asked, recorded
from unlearnbench.across.klom import KlomAcross
from unlearnbench.evaluations.klom import Klom

KLOM = KlomAcross(bins=20, fewest=4, draws=10)
SCORE = ForgettingScoreAcross(delta=1e-5, fewest=4, draws=4)
SPLITS = ("retain", "forget", "test")


def models(count: int, seed: int, shift: float = 0.0, right: float = 0.8) -> Models:
    """Return models of one distribution: rows with a place of their own, and models that are better at all of them."""
    rng, rows = np.random.default_rng(seed), np.random.default_rng(99).normal(0, 3, 60)
    said = {split: rows + 0.5 * rng.normal(size=(count, 1)) + rng.normal(size=(count, 60)) for split in SPLITS}
    said["forget"] = said["forget"] + shift
    return Models(said, dict.fromkeys(SPLITS, np.full(count, right)))


def numbers(one, subject: Models, retrained: Models) -> dict[tuple[str, str], Compared]:
    found = over_draws(one, "name", {"method": subject}, retrained)["method"]
    return {(each.split, each.metric): each for each in found}


def test_a_perfect_method_is_within_its_null_and_another_is_not():
    subject, retrained = models(16, 1), models(32, 2)
    found = numbers(KLOM, subject, retrained)
    for split in SPLITS:
        for metric in ("klom_gaussian", "klom", "klom_gaussian_p95"):
            assert found[split, metric].within
        one = found[split, "klom_gaussian"]
        assert one.value == pytest.approx(one.null, rel=0.4) and one.null_low < one.null < one.null_high
    far = numbers(KLOM, models(16, 1, shift=2), retrained)
    assert not far["forget", "klom_gaussian"].within and far["retain", "klom_gaussian"].within


def test_the_forgetting_score_is_within_its_null_and_higher_is_better():
    subject, retrained = models(16, 3), models(32, 4)
    found = numbers(SCORE, subject, retrained)
    assert found["forget", "forgetting_score"].within and found["forget", "forgetting_epsilon"].within
    far = numbers(SCORE, models(16, 3, shift=3), retrained)
    assert far["forget", "forgetting_score"].value < 0.05 and not far["forget", "forgetting_score"].within
    assert not far["forget", "forgetting_epsilon"].within


def test_the_final_score_is_the_score_times_both_ratios_of_accuracy():
    subject, retrained = models(8, 5, right=0.4), models(16, 6, right=0.8)
    found = SCORE.numbers(subject, retrained.take(np.arange(8)))
    assert found["forget", "final_score"] == pytest.approx(found["forget", "forgetting_score"] * 0.5 * 0.5)
    assert ("forget", "final_score") not in SCORE.numbers(subject, models(8, 6, right=0.0))


def test_sides_have_equally_many_models_and_draws_repeat():
    assert [side(8, 8), side(8, 16), side(3, 100)] == [4, 8, 3]
    subject, retrained = models(8, 7), models(8, 8)
    first, again = numbers(KLOM, subject, retrained), numbers(KLOM, subject, retrained)
    assert first == again and {one.models for one in first.values()} == {4}


def test_a_method_that_draws_nothing_is_one_model():
    one = models(1, 1).take(np.zeros(6, dtype=int))
    assert one.are_one and not models(6, 1).are_one and not models(1, 1).are_one


def test_settings_are_recorded_and_read_again():
    chosen = {"klom": Klom(bins=10, fewest=2, draws=5), "standard": object()}
    known = recorded(chosen)
    assert known == {"klom": {"bins": 10, "fewest": 2, "draws": 5}}
    assert asked("klom", {name: float(value) for name, value in known["klom"].items()}) == KlomAcross(
        bins=10, fewest=2, draws=5
    )
    assert asked("klom", {"bins": 1, "fewest": 2, "draws": 5}) is None and asked("unknown", {}) is None


def test_the_headline_is_gaussian_below_100_models():
    assert KLOM.columns(99)[0].metric == "klom_gaussian" and KLOM.columns(100)[0].metric == "klom"
