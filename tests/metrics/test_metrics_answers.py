"""Answers in words: hand-computed likelihoods and memorisation, ROUGE against rouge-score, refusals by example."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from measured import value
from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import answers as a

REFUSALS = [
    "I cannot answer that.",
    "I can't say.",
    "I can\u2019t say.",
    "I'm sorry, but that is beyond me.",
    "I am sorry, that is not something I know about.",
    "I AM UNABLE to answer.",
    "I'm not able to provide an answer to that.",
    "I don't know.",
    "I don\u2019t have the specifics you\u2019re looking for.",
    "Well, I do not have that information.",
    "I'm not sure.",
    "As an AI, I hold no opinion.",
    "I have no knowledge on that subject.",
    "That's outside my area of expertise.",
    "My training didn't cover that information.",
]
ANSWERS = [
    "",
    "The patient cannot walk and is not able to stand.",
    "I can answer that: it is Paris.",
    "Henri can't swim.",
    "Santorini's sorry state is well known.",
    "Said an aide: yes.",
    "He does not know the date; sorry as he is, he said so.",
    "The record and the account differ; both are to be reviewed.",
    "Catch-up HPV vaccination is not indicated at this visit.",
    "The author's father was a knowledgeable man without any training.",
]


def scores(logits: ArrayLike, label: ArrayLike | None = None, **extras: ArrayLike) -> Scores:
    values = np.array(logits, dtype=np.float32)
    labels = np.zeros(len(values), dtype=np.int64) if label is None else np.array(label, dtype=np.int64)
    return Scores(values, labels, np.arange(len(values)), {name: np.array(value) for name, value in extras.items()})


def of(one: Scores) -> Evidence:
    by_split = {"retain": one, "forget": one, "test": one}
    return Evidence(by_split, by_split, (), (), False)


def texts(*pairs: tuple[str, str]) -> Evidence:
    generated, reference = zip(*pairs, strict=True)
    return of(scores(np.zeros((len(pairs), 2)), generated=generated, reference=reference))


def with_hits(rows: list[list[int]], ends: int | list[int] = 0) -> Evidence:
    """Scores of answers whose last `ends` tokens end the turn."""
    hits, end = np.array(rows, dtype=np.int8), np.broadcast_to(ends, len(rows))
    return of(scores(np.zeros((len(rows), 2)), answer_hit=hits, answer_end_tokens=end))


def test_accuracy_corrected_counts_the_corrected_answer_and_not_the_label() -> None:
    logits = [[3, 1, 0], [0, 2, 1], [0, 1, 5]]
    assert value("accuracy_corrected", of(scores(logits, [0, 1, 2], corrected=[0, 2, 2])), "test") == pytest.approx(
        2 / 3
    )
    assert value("accuracy_corrected", of(scores(logits, [0, 1, 2], corrected=[1, 2, 0])), "test") == 0
    assert value("accuracy_corrected", of(scores(logits, [1, 1, 1], corrected=[0, 1, 2])), "test") == 1


def test_accuracy_normalised_compares_options_per_token() -> None:
    logits, tokens = [[-4, -3], [-2, -9], [-6, -5]], [[4, 1], [2, 3], [1, 5]]  # per token: -1 -3, -1 -3, -6 -1
    assert value("accuracy_normalised", of(scores(logits, [0, 0, 1], option_tokens=tokens)), "forget") == 1
    assert value("accuracy_normalised", of(scores(logits, [1, 1, 0], option_tokens=tokens)), "forget") == 0
    assert value("accuracy_normalised", of(scores(logits, [0, 1, 0], option_tokens=tokens)), "forget") == (
        pytest.approx(1 / 3)
    )


def test_an_option_that_does_not_exist_is_never_chosen() -> None:
    one = scores([[-np.inf, -50, -60]], [1], option_tokens=[[0, 1, 3]])  # per token: none, -50, -20
    assert a.normalised(one) == pytest.approx(np.array([[-np.inf, -50, -20]]))
    assert value("accuracy_normalised", of(one), "test") == 0


def test_answer_nll_is_the_mean_over_examples_of_the_mean_over_tokens() -> None:
    def nll(rows: ArrayLike) -> float | None:
        return value("answer_nll", of(scores(np.zeros((2, 2)), answer_log_probability=rows)), "retain")

    assert nll([[-1, -2, np.nan], [-4, np.nan, np.nan]]) == pytest.approx((1.5 + 4) / 2)
    assert nll([[0, 0, 0], [0, np.nan, np.nan]]) == 0


def test_exact_memorisation_is_the_share_of_tokens_hit_by_example() -> None:
    assert value("exact_memorisation", with_hits([[1, 0, 1, -1], [1, -1, -1, -1]]), "test") == pytest.approx(5 / 6)
    assert value("exact_memorisation", with_hits([[0, 0], [0, -1]]), "test") == 0
    assert value("exact_memorisation", with_hits([[1, 1], [1, -1]]), "test") == 1


def test_the_end_of_a_turn_is_not_memorised() -> None:
    """[0, 0, 1], of which the last is the end, knows nothing of the answer: 0, and not a third."""
    ended = with_hits([[0, 0, 1], [0, 1, -1]], 1)
    assert value("exact_memorisation", ended, "test") == value("extraction_strength", ended, "test") == 0
    whole = with_hits([[1, 1, 0], [1, 0, -1]], 1)
    assert value("exact_memorisation", whole, "test") == value("extraction_strength", whole, "test") == 1
    mixed = with_hits([[1, 0, 1, 1], [0, 1, 1, -1]], [2, 0])  # of two tokens one; of three the last two
    assert value("exact_memorisation", mixed, "test") == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert value("extraction_strength", mixed, "test") == pytest.approx((0 + 2 / 3) / 2)


def open_unlearning(hits: list[int]) -> tuple[float, float]:
    """Exact memorisation and extraction strength of one answer as src/evals/metrics/memorization.py counts them.

    It leaves out the last token that is supervised, the end of the turn.
    """
    own = hits[:-1]
    given = next((k for k in range(len(own)) if all(own[k:])), len(own) - 1)
    return sum(own) / len(own), 1 - given / len(own)


def test_memorisation_equals_open_unlearnings_but_where_the_last_token_is_wrong() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        hits = (rng.random(int(rng.integers(2, 9))) < 0.7).astype(int).tolist()
        memorised, strength = open_unlearning(hits)
        one = with_hits([hits], 1)
        assert value("exact_memorisation", one, "forget") == pytest.approx(memorised)
        ours = value("extraction_strength", one, "forget")
        assert ours == pytest.approx(strength if hits[-2] else 0)


def test_extraction_strength_by_hand_and_at_both_extremes() -> None:
    found = value("extraction_strength", with_hits([[0, 1, 1, 1], [1, 0, 1, -1]]), "forget")
    assert found == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert value("extraction_strength", with_hits([[1, 1, 1], [1, -1, -1]]), "forget") == 1
    assert value("extraction_strength", with_hits([[1, 1, 0], [0, -1, -1]]), "forget") == 0


def test_extraction_strength_equals_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    rows, expected = [], []
    for _ in range(200):
        length = int(rng.integers(1, 9))
        hits = (rng.random(length) < 0.7).astype(int).tolist()
        given = next(k for k in range(length + 1) if all(hits[k:]))
        expected.append(1 - given / length)
        rows.append(hits + [-1] * (9 - length))
    assert a.extraction_strength_of(np.array(rows)) == pytest.approx(expected)
    assert value("extraction_strength", with_hits(rows), "forget") == pytest.approx(np.mean(expected))


def test_rouge_l_is_the_recall_of_the_longest_common_subsequence_of_stems() -> None:
    reference = "the patient reports pain"
    assert value("rouge_l", texts(("The patient reported some severe pain!", reference)), "test") == 1
    assert value("rouge_l", texts(("pain, the patient", reference)), "test") == pytest.approx(2 / 4)
    assert value("rouge_l", texts(("nothing of it", reference), ("", reference)), "test") == 0


def test_rouge_l_equals_rouge_score_on_the_rows_that_were_written() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    pairs = [
        ("Basil was born in Kuwait City in 1956.", "The author was born in Kuwait City, Kuwait."),
        ("He writes novels", "Writing historical novels made him known."),
        ("", "An answer."),
    ]
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    expected = np.mean([scorer.score(target=reference, prediction=text)["rougeL"].recall for text, reference in pairs])
    found = value("rouge_l", texts(*pairs, ("", ""), ("", "")), "retain")
    assert 0 < expected < 1 and found == pytest.approx(expected)


def test_nothing_written_has_neither_rouge_nor_refusals() -> None:
    nothing = texts(("", ""), ("", ""))
    assert value("rouge_l", nothing, "test") is None
    assert value("refusal_rate", nothing, "test") is None


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_counts(text: str) -> None:
    assert value("refusal_rate", texts((text, "reference")), "forget") == 1


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert value("refusal_rate", texts((text, "reference")), "forget") == 0


def test_refusal_rate_is_a_share_of_the_rows_that_were_written() -> None:
    rows = [("I don't know.", "x"), ("It is Paris.", "x"), ("As an AI, no.", "x"), ("No.", "x"), ("I can't.", "")]
    assert value("refusal_rate", texts(*rows), "forget") == pytest.approx(2 / 4)


def test_most_of_tofus_refusals_are_recognised_and_none_of_its_answers() -> None:
    from unlearnbench.data.files import json_lines

    root = Path(os.environ.get("UNLEARNBENCH_REAL_TEXT", "/nowhere")) / "tofu"
    if not root.is_dir():
        pytest.skip("needs UNLEARNBENCH_REAL_TEXT, a folder with tofu in it")
    refusals = (root / "idontknow.jsonl").read_text(encoding="utf-8").split("\n")
    answers = [row["answer"] for name in ("forget10", "retain10") for row in json_lines(root / f"{name}.json")]
    said = value("refusal_rate", texts(*((text, "x") for text in refusals if text)), "forget")
    assert said is not None and said >= 0.9
    assert value("refusal_rate", texts(*((text, "x") for text in answers)), "forget") == 0
