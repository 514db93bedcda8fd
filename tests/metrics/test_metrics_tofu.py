"""TOFU's numbers by hand and by scipy, and where metrics of text are measured at all."""

from __future__ import annotations

from statistics import harmonic_mean

import numpy as np
import pytest

from measured import METRICS, value
from unlearnbench.evidence import BySplit, Evidence, Scores
from unlearnbench.metrics import answers, benchmarks, bias, tofu, utility, written
from unlearnbench.metrics.measure import measure

PARTS = ("real_authors", "world_facts")
MODULES = {module.__name__ for module in (answers, written, bias, benchmarks, tofu, utility)}
TEXT = [each for each in METRICS.values() if each.function.__module__ in MODULES]


def questions(rows: list[list[float]], part: str = "forget10", writes: tuple[str, ...] | None = None) -> Scores:
    """Rows of probabilities per token: the answer, its paraphrase, wrong answers; 0 where there is no such option."""
    width = max(3, *(len(row) for row in rows))
    likely = np.array([row + [0.0] * (width - len(row)) for row in rows])
    tokens = np.where(likely > 0, np.arange(1, width + 1), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logits = np.where(likely > 0, np.log(likely) * tokens, -np.inf)
    extras = {
        "has_options": (likely[:, 2:] > 0).any(axis=1),
        "part": np.array([part] * len(rows)),
        "option_tokens": tokens,
    }
    if writes is not None:
        extras |= {"generated": np.array(writes), "reference": np.array(["one two three four"] * len(rows))}
    return Scores(logits, np.zeros(len(rows), dtype=np.int64), np.arange(len(rows)), extras)


def together(*several: Scores) -> Scores:
    extras = {name: np.concatenate([one.extras[name] for one in several]) for name in several[0].extras}
    logits, label = (np.concatenate([getattr(one, name) for one in several]) for name in ("logits", "label"))
    return Scores(logits, label, np.arange(len(label)), extras)


def model(forget: Scores, retain: Scores | None = None, test: Scores | None = None) -> BySplit:
    return {"retain": retain or forget, "forget": forget, "test": test or forget}


def evidence(subject: BySplit, *references: BySplit) -> Evidence:
    return Evidence(subject, subject, references, (), False)


def drawn(seed: int, size: int = 40, shift: float = 0.0) -> Scores:
    rng = np.random.default_rng(seed)
    return questions(np.exp(rng.normal([-1, -1, -2 - shift, -2 - shift, -2 - shift], 0.3, (size, 5))).tolist())


def test_truth_ratio_is_the_mean_of_the_wrong_over_the_paraphrase_per_token() -> None:
    rows = questions([[0.9, 0.4, 0.1, 0.3], [0.9, 0.1, 0.2, 0.6]])
    assert tofu.truth_ratios(rows) == pytest.approx([0.2 / 0.4, 0.4 / 0.1])


def test_truth_ratio_takes_the_answer_where_there_is_no_paraphrase_and_counts_the_wrong_answers_there_are() -> None:
    assert tofu.truth_ratios(questions([[0.5, 0, 0.1, 0.3, 0.2], [0.8, 0.4, 0.1]])) == pytest.approx([0.4, 0.25])


def test_rows_without_wrong_answers_have_no_truth_ratio() -> None:
    assert tofu.truth_ratios(questions([[0.5], [0.5, 0.4, 0.1]])) == pytest.approx([0.25])
    nothing = evidence(model(questions([[0.5], [0.2]])), model(questions([[0.5], [0.2]])))
    metrics = [each for each in TEXT if each.function.__module__ == tofu.__name__ and "forget" in each.splits]
    assert len(metrics) == 7
    for metric in metrics:
        assert metric.compute(nothing, "forget") is None, metric.name


def test_truth_ratio_reads_ratios_as_each_split_asks() -> None:
    one = evidence(model(questions([[0.9, 0.4, 0.1, 0.3], [0.9, 0.1, 0.2, 0.6], [0.9, 0.2, 0.2, 0.2]])))  # .5, 4, 1
    assert value("truth_ratio", one, "forget") == pytest.approx((0.5 + 0.25 + 1) / 3)
    for split in ("retain", "test"):
        assert value("truth_ratio", one, split) == pytest.approx((0.5 + 0 + 0) / 3)


def test_truth_ratio_extremes() -> None:
    even, knows = evidence(model(questions([[0.3, 0.3, 0.3]]))), evidence(model(questions([[1, 1, 1e-30]])))
    wrong = evidence(model(questions([[1e-30, 1e-30, 1]])))
    assert value("truth_ratio", even, "forget") == pytest.approx(1)
    assert value("truth_ratio", even, "retain") == pytest.approx(0)
    assert value("truth_ratio", knows, "forget") == pytest.approx(0)
    assert value("truth_ratio", knows, "retain") == pytest.approx(1)
    assert value("truth_ratio", wrong, "forget") == pytest.approx(0)
    assert value("truth_ratio", wrong, "retain") == 0


def test_truth_ratio_stays_in_its_range_where_probabilities_underflow() -> None:
    rows = questions([[0.5, 0.5, 0.5]])
    for column in (1, 2):
        logits = rows.logits.copy()
        logits[0, column] = -1e6
        one = evidence(model(Scores(logits, rows.label, rows.index, rows.extras)))
        assert value("truth_ratio", one, "forget") == pytest.approx(0)
        assert value("truth_ratio", one, "retain") == pytest.approx(column - 1)


def test_forget_quality_equals_scipy_and_is_the_mean_over_references() -> None:
    from scipy.stats import ks_2samp

    mine, first, second = drawn(0), drawn(1), drawn(2, shift=0.4)
    tests = [ks_2samp(tofu.truth_ratios(mine), tofu.truth_ratios(other)) for other in (first, second)]
    one = evidence(model(mine), model(first))
    assert value("forget_quality", one, "forget") == pytest.approx(tests[0].pvalue)
    assert value("forget_quality_d", one, "forget") == pytest.approx(tests[0].statistic)
    both = evidence(model(mine), model(first), model(second))
    assert value("forget_quality", both, "forget") == pytest.approx(np.mean([test.pvalue for test in tests]))
    assert value("forget_quality_d", both, "forget") == pytest.approx(np.mean([test.statistic for test in tests]))
    assert value("forget_quality_n", both, "forget") == 40


def test_forget_quality_extremes() -> None:
    same, apart = evidence(model(drawn(0)), model(drawn(0))), evidence(model(drawn(0)), model(drawn(1, shift=9)))
    assert value("forget_quality", same, "forget") == 1 and value("forget_quality_d", same, "forget") == 0
    assert value("forget_quality_d", apart, "forget") == 1
    assert value("forget_quality", apart, "forget") == pytest.approx(0, abs=1e-12)


def test_model_utility_is_the_harmonic_mean_of_nine_terms() -> None:
    """Of the rows with wrong answers: the third of retain has none, and TOFU does not ask it."""
    retain = questions([[0.8, 0.4, 0.1], [0.6, 0.5, 0.3], [0.1]], "retain10", ("one two", "one two three four", "one"))
    authors = questions([[0.5, 0, 0.2, 0.1, 0.2]], PARTS[0], ("three four five",))
    facts = questions([[0.3, 0, 0.1, 0.1], [0.2, 0, 0.1, 0.1]], PARTS[1], ("one", "four"))
    terms = [
        (0.8 + 0.6) / 2, (0.5 + 1) / 2, (1 - 0.25 + 1 - 0.6) / 2,
        0.5 / (0.5 + 0.2 + 0.1 + 0.2), 0.5, 1 - (0.5 / 3) / 0.5,
        (0.3 / 0.5 + 0.2 / 0.4) / 2, 0.25, (1 - 0.1 / 0.3 + 1 - 0.1 / 0.2) / 2,
    ]  # fmt: skip
    subject = evidence(model(drawn(0), retain, together(authors, facts_as_wide(facts, authors))))
    assert value("model_utility", subject, "test") == pytest.approx(harmonic_mean(terms))


def facts_as_wide(narrow: Scores, wide: Scores) -> Scores:
    """Pad the options, as one data set's rows are."""
    more = wide.logits.shape[1] - narrow.logits.shape[1]
    logits = np.pad(narrow.logits, ((0, 0), (0, more)), constant_values=-np.inf)
    tokens = np.pad(narrow.extras["option_tokens"], ((0, 0), (0, more)))
    return Scores(logits, narrow.label, narrow.index, {**narrow.extras, "option_tokens": tokens})


def open_unlearning(losses: list[dict[str, float | list[float]]]) -> np.ndarray:
    """Truth ratios from losses per token, as src/evals/metrics/memorization.py computes them: it averages losses."""
    wrong = np.array([np.mean(row["wrong"]) for row in losses])
    return np.exp(-wrong) / (np.exp(-np.array([row["right"] for row in losses])) + 1e-10)


def locuslab_tofu(losses: list[dict[str, float | list[float]]]) -> np.ndarray:
    """The inverse ratios of aggregate_eval_stat.py in github.com/locuslab/tofu."""
    return np.exp(np.array([np.mean(row["wrong"]) - row["right"] for row in losses]))


def losses_of(scores: Scores, right: int = 1) -> list[dict[str, float | list[float]]]:
    """Losses per token of each row, by a plain loop."""
    found = []
    for logits, tokens in zip(scores.logits.tolist(), scores.extras["option_tokens"].tolist(), strict=True):
        per_token = [-logit / count if count else None for logit, count in zip(logits, tokens, strict=True)]
        found.append({"right": per_token[right], "wrong": [loss for loss in per_token[2:] if loss is not None]})
    return found


def test_published_truth_ratio_is_the_geometric_mean_and_that_of_both_code_bases() -> None:
    rows = questions([[0.9, 0.4, 0.1, 0.4], [0.9, 0.1, 0.2, 0.8], [0.9, 0.5, 0.3]])
    assert tofu.published_ratios(rows) == pytest.approx([0.2 / 0.4, 0.4 / 0.1, 0.3 / 0.5])
    assert tofu.truth_ratios(rows) == pytest.approx([0.25 / 0.4, 0.5 / 0.1, 0.3 / 0.5])
    mine = drawn(0, size=400)
    theirs = open_unlearning(losses_of(mine))
    assert tofu.published_ratios(mine) == pytest.approx(theirs, rel=1e-8)
    assert tofu.published_ratios(mine) == pytest.approx(1 / locuslab_tofu(losses_of(mine)), rel=1e-9)
    one = evidence(model(mine))
    closer = np.mean(np.minimum(theirs, 1 / (theirs + 1e-10)))
    assert value("truth_ratio_published", one, "forget") == pytest.approx(closer, rel=1e-8)
    better = np.mean(np.maximum(0, 1 - theirs))
    assert value("truth_ratio_published", one, "retain") == pytest.approx(better, rel=1e-8)
    assert value("truth_ratio_published", one, "forget") != pytest.approx(value("truth_ratio", one, "forget"), abs=1e-3)


def test_published_forget_quality_is_the_test_of_published_ratios() -> None:
    from scipy.stats import ks_2samp

    mine, other = drawn(0), drawn(1, shift=0.15)
    theirs = ks_2samp(open_unlearning(losses_of(mine)), open_unlearning(losses_of(other)))
    authors = ks_2samp(locuslab_tofu(losses_of(mine)), locuslab_tofu(losses_of(other)))
    one = evidence(model(mine), model(other))
    assert value("forget_quality_published", one, "forget") == pytest.approx(theirs.pvalue)
    assert theirs.pvalue == pytest.approx(authors.pvalue)  # a ratio or its inverse: the test is the same
    assert value("forget_quality_d_published", one, "forget") == pytest.approx(theirs.statistic)
    same = evidence(model(mine), model(mine))
    assert value("forget_quality_published", same, "forget") == 1
    assert value("forget_quality_d_published", same, "forget") == 0


def test_published_model_utility_equals_open_unlearnings_nine_metrics() -> None:
    """Each by its definition in configs/eval/tofu_metrics, from losses per token, then scipy's harmonic mean."""
    from rouge_score.rouge_scorer import RougeScorer
    from scipy.stats import hmean

    rng = np.random.default_rng(0)
    texts = ("one two", "one two three four", "four", "none")
    writes = [tuple(texts[k] for k in rng.integers(0, 4, 12)) for _ in range(3)]

    def part(name: str, likely: list[float], several: bool, place: int) -> Scores:
        rows = np.exp(rng.normal(likely, 0.4, (12, 6)))
        if several:
            rows[:, 1] = 0
        return questions(rows.tolist(), name, writes[place])

    retain = part("retain_perturbed", [-1, -1, -2, -2, -2, -2], False, 0)
    authors, facts = (part(name, [-1, -1, -2, -2, -2, -2], True, n) for n, name in enumerate(PARTS, 1))
    scorer, values = RougeScorer(["rougeL"], use_stemmer=True), []
    for scores, several, texts in ((retain, False, writes[0]), (authors, True, writes[1]), (facts, True, writes[2])):
        answer, losses = losses_of(scores, right=0), losses_of(scores, right=0 if several else 1)
        prob = np.exp(-np.array([row["right"] for row in answer]))
        if several:
            wrong = np.array([np.sum(np.exp(-np.array(row["wrong"]))) for row in answer])
            prob = prob / (prob + wrong + 1e-10)
        rouge = [scorer.score("one two three four", text)["rougeL"].recall for text in texts]
        values += [np.mean(prob), np.mean(rouge), np.mean(np.maximum(0, 1 - open_unlearning(losses)))]
    subject = evidence(model(drawn(0), retain, together(authors, facts)))
    ours = value("model_utility_published", subject, "test")
    assert len(values) == 9 and ours == pytest.approx(hmean(values), rel=1e-8)
    assert value("model_utility", subject, "test") != pytest.approx(ours, abs=1e-4)


def test_model_utility_extremes() -> None:
    def utility(wrong: float, text: str) -> float | None:
        parts = [questions([[1, 0, wrong]], part, (text,)) for part in PARTS]
        subject = model(drawn(0), questions([[1, 1, wrong]], "retain10", (text,)), together(*parts))
        return value("model_utility", evidence(subject), "test")

    assert utility(1e-30, "one two three four") == pytest.approx(1)
    assert utility(1e-30, "nothing of it") == pytest.approx(0, abs=1e-9)
    assert utility(1, "one two three four") == pytest.approx(0, abs=1e-9)


def test_model_utility_needs_written_answers_of_all_three_parts() -> None:
    retain, silent = questions([[1, 1, 0.5]], "retain10", ("one",)), questions([[1, 1, 0.5]], "retain10")
    both = together(*(questions([[1, 1, 0.5]], part, ("one",)) for part in PARTS))
    one = questions([[1, 1, 0.5]], PARTS[0], ("one",))
    assert value("model_utility", evidence(model(drawn(0), retain, both)), "test") is not None
    assert value("model_utility", evidence(model(drawn(0), silent, both)), "test") is None
    assert value("model_utility", evidence(model(drawn(0), retain, one)), "test") is None


EXTRAS = {
    "corrected": [0, 1, 0, 1], "pair": [0, 0, 2, 2], "option_tokens": [[1, 2, 3, 4]] * 4,
    "answer_log_probability": [[-1.0, -2.0]] * 4, "answer_hit": [[1, 0]] * 4, "answer_end_tokens": [1] * 4,
    "generated": ["one", "two", "", ""],
    "reference": ["one", "one", "", ""], "legitimate": [False, False, True, True],
    "is_biased": [True, False, False, False], "biased_option": [1, 1, 1, -1], "bias_type": ["age"] * 4,
    "stereotyped": [0, 1, 0, 1], "unknown": [2] * 4, "ambiguous": [True, True, False, False],
    "has_options": [True] * 4, "part": ["real_authors", "world_facts"] * 2,
}  # fmt: skip


def standing(drop: tuple[str, ...] = (), **changes: object) -> set[tuple[str, str]]:
    """Return which metrics of text are measured on which split, on scores with all EXTRAS but those dropped."""
    values = {name: np.array(value) for name, value in {**EXTRAS, **changes}.items() if name not in drop}
    one = Scores(-np.random.default_rng(0).random((4, 4)) - 1, np.array([0, 1, 2, 3]), np.arange(4), values)
    scored = dict.fromkeys(("retain", "forget", "test", "bbq", "crows_pairs"), one)
    rows = measure(scored, (scored,), scored, (), False, 0, tuple(TEXT))
    return {(row.metric, row.split) for row in rows if row.role == "unlearned" and not row.metric.startswith("gap_")}


def test_every_metric_of_text_stands_on_its_splits_where_scores_carry_all_it_needs() -> None:
    there = {"retain", "forget", "test", "bbq", "crows_pairs"}
    assert standing() == {(each.name, split) for each in TEXT for split in each.splits if split in there}


@pytest.mark.parametrize("name", [name for name in EXTRAS if name != "reference"])
def test_a_metric_of_text_falls_where_scores_lack_what_it_needs(name: str) -> None:
    lacking = {"generated", "reference"} if name == "generated" else {name}
    fallen = {each.name for each in TEXT if set(each.needs) & lacking}
    if name == "generated":
        fallen |= {"model_utility", "model_utility_published"}
    assert fallen and standing(tuple(lacking)) == {each for each in standing() if each[0] not in fallen}


def test_no_metric_of_text_stands_on_images() -> None:
    assert len(TEXT) >= 20 and standing(tuple(EXTRAS)) == set()


def test_a_metric_that_no_row_speaks_of_does_not_stand() -> None:
    gone = standing() - standing(ambiguous=[False] * 4, is_biased=[False] * 4)
    assert gone == {("bbq_s_amb", "bbq"), ("called_unbiased", "forget"), ("called_unbiased", "test")}
