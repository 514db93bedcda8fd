"""Classification metrics against hand-computed values and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import classification as c


def scores(logits: list[list[float]], label: list[int]) -> Scores:
    return Scores(np.array(logits, dtype=np.float32), np.array(label), np.arange(len(label)))


def predicting(predicted: list[int], label: list[int], classes: int) -> Scores:
    return scores(np.eye(classes)[predicted].tolist(), label)


def on(subject: Scores) -> Evidence:
    return Evidence({"test": subject}, {}, (), (), False)


HAND = predicting([0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 2, 2], 3)  # hits: 2 of class 0, 1 of class 1, none of class 2


def test_hand_computed_values() -> None:
    expected = {
        c.accuracy: 3 / 6,
        c.precision_macro: (2 / 3 + 1 / 3 + 0) / 3,
        c.recall_macro: (2 / 3 + 1 + 0) / 3,
        c.f1_macro: (2 / 3 + 1 / 2 + 0) / 3,
        c.precision_weighted: (3 * 2 / 3 + 1 / 3) / 6,
        c.recall_weighted: 3 / 6,
        c.f1_weighted: (3 * 2 / 3 + 1 / 2) / 6,
    }
    for metric, value in expected.items():
        assert metric.compute(on(HAND), "test") == pytest.approx(value), metric.name


def test_same_as_scikit_learn_with_absent_classes() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    subject = predicting(rng.choice([0, 1, 4, 5], 80).tolist(), rng.choice([0, 2, 4], 80).tolist(), 8)
    for average in ("macro", "weighted"):
        theirs = precision_recall_fscore_support(subject.label, subject.prediction, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), theirs, strict=False):
            assert getattr(c, f"{name}_{average}").compute(on(subject), "test") == pytest.approx(value)


@pytest.mark.parametrize(("predicted", "value"), [([0, 1, 2], 1.0), ([1, 2, 0], 0.0)])
def test_extremes(predicted: list[int], value: float) -> None:
    subject = predicting(predicted, [0, 1, 2], 3)
    for metric in vars(c).values():
        if getattr(metric, "unit", "") == "rate":
            assert metric.compute(on(subject), "test") == value, metric.name


def test_loss_is_the_mean_cross_entropy() -> None:
    subject = scores([[np.log(3), 0.0], [0.0, 0.0]], [0, 1])
    assert c.loss.compute(on(subject), "test") == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)


def test_loss_ignores_options_that_do_not_exist() -> None:
    subject = scores([[0.0, 0.0, -np.inf]], [1])
    assert c.loss.compute(on(subject), "test") == pytest.approx(np.log(2))


def test_loss_of_an_excluded_label_is_finite_and_a_huge_one_is_kept() -> None:
    assert c.loss.compute(on(scores([[0.0, -np.inf]], [1])), "test") == pytest.approx(708.396, abs=1e-3)
    assert c.loss.compute(on(scores([[0.0, -5000.0]], [1])), "test") == pytest.approx(5000)


def test_confusion_matrix_counts_rows_true_and_normalises_rows() -> None:
    matrix = c.confusion_matrix(HAND, 4)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert c.normalised(matrix)[0] == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert c.normalised(matrix)[3].tolist() == [0, 0, 0, 0]
