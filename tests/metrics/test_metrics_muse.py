"""MUSE's numbers by hand, against its authors' formulas, and at their null."""

from __future__ import annotations

import numpy as np
import pytest

from measured import value
from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics.muse import FORGET, HELD_OUT, least_likely, rouge_l_f1


def texts(log_probabilities: list[list[float]]) -> Scores:
    longest = max(map(len, log_probabilities))
    padded = np.array([row + [np.nan] * (longest - len(row)) for row in log_probabilities], dtype=np.float32)
    count = len(padded)
    return Scores(np.zeros((count, 1)), np.zeros(count, np.int64), np.arange(count), {"answer_log_probability": padded})


def evidence(subject: dict[str, Scores], *references: dict[str, Scores]) -> Evidence:
    return Evidence(subject, subject, references, (), False)


def drawn(seed: int, forget: float, size: int = 100) -> dict[str, Scores]:
    rng = np.random.default_rng(seed)
    sides = {FORGET: forget, HELD_OUT: -2.0}
    return {name: texts(rng.normal(mean, 1, (size, 20)).tolist()) for name, mean in sides.items()}


def authors_auc(scores: dict[str, Scores]) -> float:
    """forget_holdout_Min-40% of metrics/privleak.py: forget is class 0, holdout class 1, and the score is -ppl."""
    from sklearn.metrics import auc, roc_curve

    def min_k(row: np.ndarray) -> float:
        tokens = row[~np.isnan(row)]
        return -float(np.mean(np.sort(tokens)[: int(len(tokens) * 0.4)]))

    ppl, label = [], []
    for number, name in enumerate((FORGET, HELD_OUT)):
        found = [min_k(row) for row in scores[name].extras["answer_log_probability"].astype(np.float64)]
        ppl, label = ppl + found, label + [number] * len(found)
    wrong, right, _ = roc_curve(label, -np.array(ppl))
    return float(auc(wrong, right))


def test_the_least_likely_tokens_are_the_share_of_each_text_and_at_least_one() -> None:
    found = least_likely(texts([[-1, -5, -2, -4, -3], [-2, -7], [-1]]), 0.4)
    assert found == pytest.approx([-4.5, -7, -1])


def test_auc_and_privleak_are_the_authors() -> None:
    mine, other = drawn(0, -1.8), drawn(1, -2.0)
    one = evidence(mine, other)
    assert value("muse_auc", one, FORGET) == pytest.approx(authors_auc(mine), abs=1e-12)
    expected = (authors_auc(mine) - authors_auc(other)) / authors_auc(other) * 100
    assert value("muse_privleak", one, FORGET) == pytest.approx(expected, abs=1e-9)
    both = (authors_auc(other) + authors_auc(drawn(2, -2.0))) / 2
    two = evidence(mine, other, drawn(2, -2.0))
    assert value("muse_privleak", two, FORGET) == pytest.approx((authors_auc(mine) - both) / both * 100, abs=1e-9)


def test_extremes() -> None:
    known, gone, never = drawn(0, 50.0), drawn(0, -50.0), drawn(1, -2.0)
    assert value("muse_auc", evidence(known, never), FORGET) == 0
    assert value("muse_privleak", evidence(known, never), FORGET) == -100
    assert value("muse_auc", evidence(gone, never), FORGET) == 1
    assert value("muse_privleak", evidence(gone, never), FORGET) > 80
    assert value("muse_privleak", evidence(gone, known), FORGET) is None  # an AUC of 0 to divide by


def test_the_null_of_privleak_is_zero() -> None:
    found = [value("muse_privleak", evidence(drawn(2 * k, -2.0), drawn(2 * k + 1, -2.0)), FORGET) for k in range(40)]
    mean, error = np.mean(found), np.std(found) / np.sqrt(len(found))
    assert abs(mean) < 3 * error + 1 and np.std(found) < 20


def test_rouge_l_is_f1_without_a_stemmer() -> None:
    assert rouge_l_f1([("one two", "one two three four")]) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert rouge_l_f1([("same", "same"), ("other", "same")]) == 0.5
    assert rouge_l_f1([("runs", "running")]) == 0
