"""Rows, gaps and floors; the catalogue; and what holds for every metric."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from unlearnbench.errors import UserError
from unlearnbench.evidence import BySplit, Evidence, Scores
from unlearnbench.metrics import OPTIONS, Metric, Number, catalogue, declared, metric
from unlearnbench.metrics.measure import Row, measure
from unlearnbench.request.catalogue import entries

NAMES = [
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "precision_weighted",
    "recall_weighted",
    "f1_weighted",
    "loss",
    "kl_from_retrained",
    "js_to_retrained",
    "js_published",
    "activation_distance",
    "zrf",
    "zrf_published",
    "mia_entropy",
    "mia_entropy_svc",
    "mia_confidence",
    "mia_confidence_svc",
    "mia_correctness",
    "mia_correctness_svc",
    "mia_loss",
    "mia_loss_svc",
    "mia_m_entropy",
    "mia_m_entropy_svc",
    "mia_auc",
    "mia_accuracy",
    "tug_of_war",
    "aus",
    "accuracy_corrected",
    "accuracy_normalised",
    "answer_nll",
    "exact_memorisation",
    "extraction_strength",
    "rouge_l",
    "refusal_rate",
    "flip_rate",
    "flip_probability",
    "flip_rate_legitimate",
    "called_biased",
    "called_unbiased",
    "stereotype_rate",
    "bbq_s_dis",
    "bbq_s_amb",
    "bbq_accuracy",
    "stereoset_ss",
    "stereoset_lms",
    "stereoset_icat",
    "truth_ratio",
    "truth_ratio_published",
    "forget_quality",
    "forget_quality_published",
    "forget_quality_d",
    "forget_quality_d_published",
    "forget_quality_n",
    "model_utility",
    "model_utility_published",
    "answer_probability",
    "real_authors_probability",
    "real_authors_rouge_l",
    "real_authors_truth_ratio",
    "real_authors_truth_ratio_published",
    "world_facts_probability",
    "world_facts_rouge_l",
    "world_facts_truth_ratio",
    "world_facts_truth_ratio_published",
    "muse_rouge_l",
    "muse_auc",
    "muse_privleak",
    "rwku_rouge_l",
    "rwku_loss",
]
SIZES = {"retain": 60, "forget": 20, "test": 30, "test_retain": 24, "test_forget": 6}


@metric("width", splits=("forget",), unit="score", low=0.0, high=9.0, source="test")
def width(evidence: Evidence, split: str) -> float:
    """The model's number."""
    return float(evidence.subject[split].logits[0, 0])


@metric("ratio", splits=("forget",), unit="score", low=0.0, high=9.0, ideal=1.0, relative=True, source="test")
def ratio(evidence: Evidence, split: str) -> float:
    """The model's number over the references' mean."""
    return float(evidence.subject[split].logits[0, 0] / np.mean([r[split].logits[0, 0] for r in evidence.references]))


@metric(
    Number("half", "Half of the model's number", ideal=2.0, source="elsewhere"),
    Number("small", "The model's number where it is below 4", unit="rate", high=4.0),
    splits=("forget", "test"),
    unit="score",
    low=0.0,
    high=9.0,
    source="test",
)
def several(evidence: Evidence, split: str) -> dict[str, float]:
    """Two numbers, of which the second is left out for great ones."""
    found = float(evidence.subject[split].logits[0, 0])
    return {"half": found / 2} | ({"small": found} if found < 4 else {})


WIDTH, RATIO, SEVERAL = declared(width), declared(ratio), declared(several)


def number(value: float) -> BySplit:
    scores = Scores(np.array([[value, 0.0]]), np.zeros(1, dtype=np.int64), np.arange(1))
    return {"retain": scores, "forget": scores, "test": scores}


def random_model(seed: int, ragged: bool = False) -> BySplit:
    rng = np.random.default_rng(seed)
    made = {}
    for start, (name, size) in enumerate(SIZES.items()):
        logits, label = rng.normal(0, 3, (size, 4)).astype(np.float32), np.arange(size) % 3
        if ragged:
            logits[::2, 3] = -np.inf
        made[name] = Scores(logits, label, np.arange(size) + 100 * start)
    return made


def numbers(rows: list[Row]) -> dict[tuple[str, str], float]:
    return {(row.role, row.metric): row.value for row in rows}


def run(*models: BySplit, metrics: tuple[Metric, ...], whole_class: bool = True) -> list[Row]:
    original, unlearned, *retrained = models
    return measure(original, tuple(retrained), unlearned, (original, unlearned), whole_class, 0, metrics)


def test_rows_gap_and_floor_of_a_metric_with_three_references() -> None:
    rows = run(number(5), number(3), number(1), number(2), number(4), metrics=WIDTH)
    assert [(row.role, row.metric, row.split) for row in rows] == [
        ("original", "width", "forget"),
        ("retrained", "width", "forget"),
        ("retrained", "floor_width", "forget"),
        ("unlearned", "width", "forget"),
        ("unlearned", "gap_width", "forget"),
    ]
    assert [row.value for row in rows] == pytest.approx([5, 7 / 3, (1 + 3 + 2) / 3, 3, 3 - 7 / 3])


def test_rows_gap_and_floor_of_a_relative_metric() -> None:
    found = numbers(run(number(6), number(4.5), number(2), number(4), metrics=RATIO))
    assert found == {
        ("original", "ratio"): pytest.approx(2),
        ("retrained", "floor_ratio"): pytest.approx((abs(2 / 4 - 1) + abs(4 / 2 - 1)) / 2),
        ("unlearned", "ratio"): pytest.approx(1.5),
        ("unlearned", "gap_ratio"): pytest.approx(0.5),
    }


def test_one_reference_has_no_floor_and_none_leaves_only_what_needs_none() -> None:
    one = numbers(run(number(6), number(4), number(2), metrics=(*WIDTH, *RATIO)))
    assert not [name for _, name in one if name.startswith("floor_")]
    none = numbers(run(number(6), number(4), metrics=(*WIDTH, *RATIO)))
    assert none == {("original", "width"): 6, ("unlearned", "width"): 4}


def test_a_model_equal_to_the_retrained_has_no_gap() -> None:
    same = random_model(1)
    rows = run(random_model(0), same, same, metrics=catalogue())
    gaps = [row for row in rows if row.metric.startswith("gap_")]
    assert gaps and all(row.value == pytest.approx(0, abs=1e-12) for row in gaps)


def test_metrics_stand_on_the_splits_that_have_examples() -> None:
    models = [random_model(seed) for seed in range(3)]
    for each in models:
        each["test_forget"] = each["test_forget"].rows(np.zeros(0, dtype=np.int64))
        del each["test_retain"]
    rows = run(*models, metrics=catalogue(), whole_class=False)
    assert {row.split for row in rows} == {"retain", "forget", "test"}


@pytest.mark.parametrize("ragged", [False, True])
def test_every_value_is_a_finite_float_in_its_range(ragged: bool) -> None:
    declared = {each.name: each for each in catalogue()}
    rows = run(*(random_model(seed, ragged) for seed in range(4)), metrics=catalogue())
    for row in rows:
        assert type(row.value) is float and math.isfinite(row.value), row
        if row.metric in declared:
            assert declared[row.metric].low <= row.value <= declared[row.metric].high, row
    standing = [name for name in NAMES if set(declared[name].needs) <= {OPTIONS}]  # others need what text has
    assert {row.metric for row in rows} == {f"{kind}{name}" for name in standing for kind in ("", "gap_", "floor_")}


def test_extreme_models_give_finite_rows() -> None:
    models = [random_model(seed) for seed in range(4)]
    for scale, each in zip((0.0, 1e4, 1e4, 1e4), models, strict=True):
        for name, rows in each.items():
            each[name] = Scores(rows.logits * scale, rows.label, rows.index)
    models[1]["forget"].logits[:, 0] = -np.inf
    assert all(math.isfinite(row.value) for row in run(*models, metrics=catalogue()))


def test_twice_the_same_rows_whatever_the_order_of_examples() -> None:
    models = [random_model(seed) for seed in range(4)]
    order = {name: np.random.default_rng(9).permutation(size) for name, size in SIZES.items()}
    shuffled = [{name: rows.rows(order[name]) for name, rows in each.items()} for each in models]
    first, again = run(*models, metrics=catalogue()), run(*models, metrics=catalogue())
    other = run(*shuffled, metrics=catalogue())
    assert first == again
    assert [(row.role, row.split, row.metric) for row in first] == [(row.role, row.split, row.metric) for row in other]
    assert [row.value for row in other] == pytest.approx([row.value for row in first], abs=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_numbers_are_refused(bad: float) -> None:
    broken = random_model(1)
    broken["forget"].logits[0, 0] = bad
    with pytest.raises(ValueError, match="unlearned model's scores on forget are not numbers"):
        run(random_model(0), broken, random_model(2), metrics=WIDTH)


def test_a_missing_split_and_a_metric_that_is_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="no scores on test"):
        run(number(1), {"retain": number(1)["retain"], "forget": number(1)["forget"]}, metrics=WIDTH)
    with pytest.raises(ValueError, match="metric ratio is nan on forget"), np.errstate(invalid="ignore"):
        run(number(0), number(0), number(0), metrics=RATIO)


def test_catalogue_has_every_metric_once_in_order() -> None:
    assert [each.name for each in catalogue()] == NAMES


def test_catalogue_takes_a_plugins_metrics_but_no_second_of_a_name() -> None:
    plugin = ModuleType(__name__)
    plugin.width, plugin.several, plugin.borrowed = width, several, catalogue()[0].function  # type: ignore[attr-defined]
    assert [each.name for each in catalogue([plugin])] == [*NAMES, "width", "half", "small"]
    twice = metric("accuracy", splits=("forget",), unit="rate", low=0.0, high=1.0, source="test")(lambda *_: 1.0)
    plugin.width = twice  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="'accuracy'"):
        catalogue([plugin])


def test_declarations_can_be_read_without_importing() -> None:
    """`list metrics` reads the @metric lines as they are when imported."""
    for entry, each in zip(entries("metrics"), catalogue(), strict=True):
        perfect = "the retrained model's value" if each.ideal is None else f"{each.ideal:g}"
        about = f"{each.about.rstrip('.')}; perfect: {perfect}"
        assert (entry.name, entry.kind, entry.about, entry.paper) == (each.name, each.unit, about, each.source)


def test_each_of_several_numbers_takes_from_the_metric_line_what_it_leaves_out() -> None:
    half, small = SEVERAL
    assert (half.unit, half.high, half.ideal, half.source) == ("score", 9.0, 2.0, "elsewhere")
    assert (small.unit, small.high, small.ideal, small.source) == ("rate", 4.0, None, "test")
    assert half.splits == small.splits == ("forget", "test")


def test_a_number_without_a_range_is_refused_where_it_is_declared() -> None:
    with pytest.raises(TypeError, match="metric 'third' declares no high"):
        metric(Number("third", "A number"), splits=("test",), unit="rate", low=0.0, source="test")(lambda *_: 0.5)


def test_several_numbers_have_their_rows_gaps_and_floors_one_after_the_other() -> None:
    rows = run(number(2), number(3), number(1), number(2), metrics=SEVERAL)
    assert [(row.metric, row.split) for row in rows if row.role == "unlearned"] == [
        (f"{kind}{name}", split) for name in ("half", "small") for split in ("forget", "test") for kind in ("", "gap_")
    ]
    found = {(row.role, row.metric): row.value for row in rows if row.split == "forget"}
    assert found["unlearned", "half"] == 1.5 and found["unlearned", "gap_half"] == 0.75
    assert found["retrained", "floor_half"] == 0.5 and found["retrained", "floor_small"] == 1


def test_a_number_that_is_left_out_has_no_row() -> None:
    rows = run(number(2), number(5), number(1), metrics=SEVERAL)
    assert {row.metric for row in rows} == {"half", "gap_half"}
    with pytest.raises(ValueError, match="small has a value on forget for the unlearned model, but not for another"):
        run(number(5), number(2), number(1), metrics=SEVERAL)


def test_a_function_of_several_numbers_is_called_once_for_a_model_and_split() -> None:
    calls: list[str] = []

    @metric(*(Number(name, name) for name in "abc"), splits=("forget",), unit="score", low=0, high=1, source="test")
    def counted(evidence: Evidence, split: str) -> dict[str, float]:
        calls.append(split)
        return dict.fromkeys("abc", 0.5)

    run(number(1), number(2), number(3), metrics=declared(counted))
    assert len(calls) == 3


@pytest.mark.parametrize(("found", "says"), [({"hlaf": 1.0}, "returned hlaf"), (1.0, "returned one number")])
def test_a_function_that_returns_what_it_does_not_declare_is_refused(found: object, says: str) -> None:
    wrong = replace(SEVERAL[0], function=lambda *_: found)
    with pytest.raises(ValueError, match=f"{says}, but its @metric line declares half, small"):
        run(number(1), number(2), number(3), metrics=(wrong,))


@pytest.mark.parametrize("each", catalogue(), ids=lambda each: each.name)
def test_docstrings_are_short_and_say_what_is_perfect(each: Metric) -> None:
    text = each.function.__doc__ or ""
    assert len(each.about) < 95 and text.partition("\n")[0].endswith(".")
    assert "perfect" in text.lower() and each.source


def test_nineteen_references_say_where_the_unlearned_model_lies_among_them() -> None:
    references = [number(1 + k / 100) for k in range(19)]
    far, middle = (
        numbers(run(number(5), number(value), *references, metrics=(*WIDTH, *RATIO))) for value in (3.0, 1.09)
    )
    for name in ("p_width", "p_ratio"):
        assert far["unlearned", name] == pytest.approx(1 / 20)
        assert middle["unlearned", name] > 0.5
    few = numbers(run(number(5), number(3), *references[:18], metrics=WIDTH))
    assert ("unlearned", "p_width") not in few
