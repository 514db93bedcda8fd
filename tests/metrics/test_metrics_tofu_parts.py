"""TOFU's terms one by one, by hand."""

from __future__ import annotations

from statistics import harmonic_mean

import numpy as np
import pytest

from measured import value
from unlearnbench.evidence import Evidence, Scores

TERMS = ("probability", "rouge_l", "truth_ratio")


def questions(rows: list[list[float]], part: str, writes: str | None) -> Scores:
    """Rows of probabilities per token, all options of one token: the answer, its paraphrase, two wrong answers."""
    likely = np.array(rows)
    with np.errstate(divide="ignore"):
        logits = np.log(likely)
    extras = {
        "has_options": (likely[:, 2:] > 0).any(axis=1),
        "part": np.array([part] * len(rows)),
        "option_tokens": (likely > 0).astype(np.int64),
    }
    if writes is not None:
        extras |= {"generated": np.array([writes] * len(rows)), "reference": np.array(["one two"] * len(rows))}
    return Scores(logits, np.zeros(len(rows), np.int64), np.arange(len(rows)), extras)


def evidence(retain: Scores, *parts: Scores) -> Evidence:
    extras = {name: np.concatenate([one.extras[name] for one in parts]) for name in parts[0].extras}
    logits, label = (np.concatenate([getattr(one, name) for one in parts]) for name in ("logits", "label"))
    subject = {"retain": retain, "forget": retain, "test": Scores(logits, label, np.arange(len(label)), extras)}
    return Evidence(subject, subject, (), (), False)


def test_the_terms_are_those_whose_harmonic_mean_is_model_utility() -> None:
    retain = questions([[0.8, 0.4, 0.1, 0.1], [0.6, 0.5, 0.3, 0.3]], "retain_perturbed", "one")
    authors = questions([[0.5, 0, 0.2, 0.3]], "real_authors", "one two")
    facts = questions([[0.3, 0, 0.1, 0.1], [0.2, 0, 0.1, 0.1]], "world_facts", "two")
    one = evidence(retain, authors, facts)
    assert value("answer_probability", one, "retain") == pytest.approx(0.7)
    assert value("real_authors_probability", one, "test") == pytest.approx(0.5)
    assert value("real_authors_rouge_l", one, "test") == 1
    assert value("real_authors_truth_ratio", one, "test") == pytest.approx(0.5)
    assert value("real_authors_truth_ratio_published", one, "test") == pytest.approx(1 - np.sqrt(0.06) / 0.5)
    assert value("world_facts_probability", one, "test") == pytest.approx((0.6 + 0.5) / 2)
    terms = [value(name, one, "retain") for name in ("answer_probability", "rouge_l", "truth_ratio")]
    terms += [value(f"{part}_{term}", one, "test") for part in ("real_authors", "world_facts") for term in TERMS]
    assert value("model_utility", one, "test") == pytest.approx(harmonic_mean(terms))


def test_the_extremes_and_what_has_no_value() -> None:
    knows = questions([[1, 0, 1e-30, 1e-30]], "real_authors", "one two")
    lost = questions([[1e-30, 0, 0.5, 0.5]], "world_facts", "no")
    one = evidence(questions([[1, 1, 0, 0]], "full", None), knows, lost)
    assert value("answer_probability", one, "retain") is None  # no row is asked
    for term in TERMS:
        assert value(f"real_authors_{term}", one, "test") == pytest.approx(1)
        assert value(f"world_facts_{term}", one, "test") == pytest.approx(0)
    silent = questions([[0.5, 0, 0.5, 0.5]], "real_authors", None)
    assert value("real_authors_rouge_l", evidence(silent, silent), "test") is None
    assert value("world_facts_probability", evidence(silent, silent), "test") is None
