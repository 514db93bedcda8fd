"""What a board shows and ranks by: choices where there are any, else the tokens of answers."""

from __future__ import annotations

from unlearnbench.report.headline import ANSWERS, ANSWERS_ALONE, CHOICES, CHOICES_ALONE, headline_of


def test_runs_with_an_accuracy_are_ranked_by_it():
    assert headline_of({"accuracy", "answer_nll"}, True) is CHOICES is headline_of(set(), True)
    assert CHOICES.header() == (
        "method", "retain accuracy", "forget accuracy", "test accuracy", "mean gap", "JS to retrained", "MIA gap",
        "cost ratio", "weights changed", "seeds", "in short",
    )  # fmt: skip


def test_without_options_answers_are_shown_as_far_as_they_were_measured():
    found = headline_of({"answer_nll", "exact_memorisation", "extraction_strength", "mia_auc", "gap_mia_auc"}, True)
    assert found.ranked_by == "answer_nll" and found.reading == ANSWERS.reading
    assert "forget exact memorisation" in found.header() and "forget ROUGE-L" not in found.header()
    assert len(found.added) == 6 and len(ANSWERS.added) == 9


def test_without_retrained_models_there_is_neither_gap_nor_rank():
    for metrics, alone in (({"accuracy"}, CHOICES_ALONE), ({"answer_nll", "mia_auc", "rouge_l"}, ANSWERS_ALONE)):
        found = headline_of(metrics, False)
        assert found.reading == alone.reading and not found.compared
        assert not {"mean gap", "cost ratio"} & set(found.header()) and "seconds" in found.header()
