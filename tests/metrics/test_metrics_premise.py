"""The premise: of the rule and of the forget rows, over clusters of rows, and when there is nothing to say."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest

from unlearnbench.evidence import BySplit, Scores
from unlearnbench.metrics.premise import Rate
from unlearnbench.metrics.premise import premise as premise_of
from unlearnbench.report.collect import Runs
from unlearnbench.report.language import premise_text


def rate(hits: int, n: int) -> Rate:
    return Rate.of(np.arange(n) < hits, np.arange(n))


@pytest.mark.parametrize(
    ("hits", "low", "high"), [(0, 0.0, 0.278), (1, 0.018, 0.404), (5, 0.237, 0.763), (10, 0.722, 1.0)]
)
def test_wilson_interval_of_ten_at_known_values(hits: int, low: float, high: float) -> None:
    found = rate(hits, 10)
    assert (found.value, found.n) == (hits / 10, 10)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


@pytest.mark.parametrize(("hits", "n"), [(0, 3), (7, 31), (552, 552), (1, 1000)])
def test_ends_of_the_wilson_interval_are_the_rates_at_which_the_score_test_just_rejects(hits: int, n: int) -> None:
    found, z = rate(hits, n), 1.959963984540054
    for end in (found.low, found.high):
        if 0 < end < 1:
            assert abs(hits / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(z)
    assert 0 <= found.low <= hits / n <= found.high <= 1
    assert (found.low == pytest.approx(0, abs=1e-12)) == (hits == 0)
    assert (found.high == pytest.approx(1, abs=1e-12)) == (hits == n)


def test_a_rate_is_written_with_its_interval_and_number() -> None:
    assert str(rate(5, 10)) == "0.500 [0.237, 0.763] of 10"
    assert str(Rate.of(np.arange(30) < 15, np.arange(30) // 3)) == "0.500 [0.237, 0.763] of 30 in 10 clusters"


def premise(*models: BySplit, forget: str = "is_biased=True", rule_stays: bool = False) -> dict[str, Any] | None:
    return premise_of(*models, forget, rule_stays=rule_stays)


def model(
    biased: int,
    flipped: int,
    rows: int = 40,
    retain: tuple[int, ...] = (0, 1, 2),
    drop: tuple[str, ...] = (),
    templates: int | None = None,
) -> BySplit:
    """Pairs of a biased row and its counterpart: `biased` rows get the biased answer, `flipped` pairs two answers.

    The pairs are of so many templates, one after another, or each of its own.
    """
    answers = np.zeros(2 * rows, dtype=np.int64)
    answers[: 2 * biased : 2] = 1
    answers[1 : 2 * biased : 2] = 1
    answers[1 : 2 * flipped : 2] = 2
    extras = {
        "is_biased": np.arange(2 * rows) % 2 == 0,
        "biased_option": np.ones(2 * rows, dtype=np.int64),
        "legitimate": np.zeros(2 * rows, dtype=bool),
        "pair": np.arange(2 * rows) // 2,
        "cluster": np.arange(2 * rows) // (2 * rows // (templates or rows)),
    }
    extras = {name: values for name, values in extras.items() if name not in drop}
    test = Scores(np.eye(3)[answers], answers, np.arange(2 * rows), extras)
    label = np.array(retain)
    return {"test": test, "retain": Scores(np.eye(3)[label], label, np.arange(len(label)))}


def remembered(hits: int, rows: int = 40) -> BySplit:
    """A model that flips on everything held out, and gives `hits` of the forget rows their trained answer."""
    label = np.ones(rows, dtype=np.int64)
    given = np.where(np.arange(rows) < hits, label, 0)
    return {**model(20, 20), "forget": Scores(np.eye(3)[given], label, np.arange(rows))}


def both(found: dict[str, Any], name: str) -> list[float]:
    return [found["rates"][name][role]["value"] for role in ("original", "retrained")]


def test_it_holds_where_the_original_is_biased_and_flips_and_the_retrained_model_does_neither() -> None:
    found = premise(model(38, 36), model(1, 2))
    assert found is not None and found["holds"] and not found["degenerate"]
    assert found["about"] == "rule" and "original 0.950" in found["text"] and "FAILS" not in found["text"]
    assert both(found, "biased answers") == [38 / 40, 1 / 40]
    assert both(found, "flip rate") == [36 / 40, 2 / 40]
    assert found["rates"]["flip rate"]["original"] == {**vars(rate(36, 40))}
    assert 0 < found["rates"]["flip rate"]["low"] < 34 / 40 < found["rates"]["flip rate"]["high"]


@pytest.mark.parametrize(
    ("original", "retrained"),
    [((38, 36), (36, 2)), ((38, 36), (1, 34)), ((18, 36), (16, 2)), ((1, 2), (38, 36)), ((40, 40), (40, 40))],
)
def test_it_fails_where_one_of_the_rates_is_not_clearly_higher(
    original: tuple[int, int], retrained: tuple[int, int]
) -> None:
    found = premise(model(*original), model(*retrained))
    assert found is not None and not found["holds"]
    assert found["text"].startswith("PREMISE FAILS")


def test_a_retrained_model_that_is_half_biased_is_called_less_biased_and_not_free_of_it() -> None:
    found = premise(model(38, 38), model(20, 16))
    assert found is not None and found["holds"]
    assert found["text"].startswith("the original is more biased on held-out rows than the retrained model (biased")
    assert "is not" not in found["text"] and "retrained 0.500 [0.352, 0.648] of 40" in found["text"]


@pytest.mark.parametrize(("hits", "holds"), [((38, 20), True), ((38, 36), False), ((20, 38), False), ((2, 2), False)])
def test_where_biased_rows_are_retained_it_asks_whether_the_forget_rows_are_remembered(
    hits: tuple[int, int], holds: bool
) -> None:
    found = premise(*map(remembered, hits), forget="is_biased=True:0.5", rule_stays=True)
    assert found is not None and found["about"] == "forget rows" and found["holds"] == holds
    assert "teach the rule, so this run is about the forget rows alone" in found["text"]
    assert found["text"].startswith("PREMISE FAILS") != holds
    assert list(found["rates"]) == ["trained answers to forget rows"]
    assert both(found, "trained answers to forget rows") == [hits[0] / 40, hits[1] / 40]


def said(seed: int, found: Any) -> Any:
    """Return what a report reads of a run with this premise."""
    return SimpleNamespace(seed=seed, draw=0, premise=SimpleNamespace(**found))


def test_the_report_says_what_the_premise_is_about() -> None:
    found = [premise(*map(remembered, hits), rule_stays=True) for hits in ((38, 20), (38, 36))]
    facts: dict[str, Any] = {str(seed): said(seed, one) for seed, one in enumerate(found)}
    runs = Runs(pandas.DataFrame(), pandas.DataFrame(), facts, {})
    text = premise_text(runs, pandas.DataFrame({"run_id": ["0", "1"]}))
    assert text.startswith("Premise (about the forget rows, not the rule): it holds for 1 of 2 seeds. Seed 1: PREMISE")
    rule: dict[str, Any] = {"0": said(0, premise(model(38, 36), model(1, 2)))}
    runs = Runs(pandas.DataFrame(), pandas.DataFrame(), rule, {})
    assert premise_text(runs, pandas.DataFrame({"run_id": ["0"]})) == "Premise: it holds for 1 of 1 seeds."


def test_a_retain_set_of_one_answer_is_degenerate_whether_it_holds_or_not() -> None:
    for biased in (38, 1):
        one = premise(model(biased, 36, retain=(2, 2, 2)), model(1, 2, retain=(2, 2, 2)))
        assert one is not None and one["degenerate"] and one["holds"] == (biased == 38)
        assert "DEGENERATE: forgetting is_biased=True" in one["text"] and "forget.fraction=0.5" in one["text"]


@pytest.mark.parametrize("drop", ["legitimate", "pairs"])
def test_without_counterfactual_pairs_biased_answers_alone_decide(drop: str) -> None:
    models = [model(38, 0, drop=(drop,)), model(1, 40, drop=(drop,))]
    if drop == "pairs":
        for each in models:
            each["test"].extras["pair"][:] = np.arange(80)  # type: ignore[index]
    found = premise(*models)
    assert found is not None and found["holds"] and set(found["rates"]) == {"biased answers"}


def test_legitimate_pairs_do_not_count_as_flips() -> None:
    before, after = model(38, 36), model(1, 40)
    for each in (before, after):
        each["test"].extras["legitimate"][-4:] = True  # type: ignore[index]
    found = premise(before, after)
    assert found is not None and found["rates"]["flip rate"]["original"]["n"] == 38
    assert both(found, "flip rate") == [36 / 38, 1]


def test_there_is_nothing_to_say_without_biased_rows() -> None:
    assert premise(model(3, 3, drop=("is_biased",)), model(3, 3, drop=("is_biased",))) is None
    before, after = model(3, 3), model(1, 1)
    for each in (before, after):
        each["test"].extras["is_biased"][:] = False  # type: ignore[index]
    assert premise(before, after) is None


def test_many_rows_of_few_templates_show_less_than_as_many_independent_ones() -> None:
    """Half of 12 templates are biased in all of their rows: 72 of 144 are, which says as much as 6 of 12."""
    found, apart = (
        premise(model(72, 144, 144, templates=12), model(48, 0, 144, templates=12)),
        premise(model(72, 144, 144), model(48, 0, 144)),
    )
    assert found is not None and apart is not None and apart["holds"] and not found["holds"]
    original = found["rates"]["biased answers"]["original"]
    assert original == {**vars(rate(6, 12)), "n": 144, "clusters": 12}
    assert (original["low"], original["high"]) == (pytest.approx(0.254, abs=1e-3), pytest.approx(0.746, abs=1e-3))
    assert "original 0.500 [0.254, 0.746] of 144 in 12 clusters" in found["text"]


def test_a_premise_of_one_template_never_holds_and_few_are_named() -> None:
    one, four = (premise(model(40, 40, templates=count), model(0, 0, templates=count)) for count in (1, 4))
    assert one is not None and not one["holds"] and "FEW CLUSTERS: there are 1, too few" in one["text"]
    assert four is not None and four["holds"] and "FEW CLUSTERS: there are 4, too few" in four["text"]
