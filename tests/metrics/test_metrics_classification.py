"""Classification metrics against hand-computed values and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from measured import METRICS, value
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
        "accuracy": 3 / 6,
        "precision_macro": (2 / 3 + 1 / 3 + 0) / 3,
        "recall_macro": (2 / 3 + 1 + 0) / 3,
        "f1_macro": (2 / 3 + 1 / 2 + 0) / 3,
        "precision_weighted": (3 * 2 / 3 + 1 / 3) / 6,
        "recall_weighted": 3 / 6,
        "f1_weighted": (3 * 2 / 3 + 1 / 2) / 6,
    }
    for name, number in expected.items():
        assert value(name, on(HAND), "test") == pytest.approx(number), name


def test_same_as_scikit_learn_with_absent_classes() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    subject = predicting(rng.choice([0, 1, 4, 5], 80).tolist(), rng.choice([0, 2, 4], 80).tolist(), 8)
    for average in ("macro", "weighted"):
        theirs = precision_recall_fscore_support(subject.label, subject.prediction, average=average, zero_division=0)
        for name, number in zip(("precision", "recall", "f1"), theirs, strict=False):
            assert value(f"{name}_{average}", on(subject), "test") == pytest.approx(number)


@pytest.mark.parametrize(("predicted", "number"), [([0, 1, 2], 1.0), ([1, 2, 0], 0.0)])
def test_extremes(predicted: list[int], number: float) -> None:
    subject = predicting(predicted, [0, 1, 2], 3)
    rates = [one.name for one in METRICS.values() if one.function.__module__ == c.__name__ and one.unit == "rate"]
    assert len(rates) == 7
    for name in rates:
        assert value(name, on(subject), "test") == number, name


def test_loss_is_the_mean_cross_entropy() -> None:
    subject = scores([[np.log(3), 0.0], [0.0, 0.0]], [0, 1])
    assert value("loss", on(subject), "test") == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)


def test_loss_ignores_options_that_do_not_exist() -> None:
    subject = scores([[0.0, 0.0, -np.inf]], [1])
    assert value("loss", on(subject), "test") == pytest.approx(np.log(2))


def test_loss_of_an_excluded_label_is_finite_and_a_huge_one_is_kept() -> None:
    assert value("loss", on(scores([[0.0, -np.inf]], [1])), "test") == pytest.approx(708.396, abs=1e-3)
    assert value("loss", on(scores([[0.0, -5000.0]], [1])), "test") == pytest.approx(5000)


def test_rows_that_count_several_times_are_so_many_rows() -> None:
    times = np.array([0, 3, 1, 2, 0, 5])
    counted = c.by_class(HAND.label, HAND.prediction, 3, times.astype(np.float64))
    copies = c.by_class(np.repeat(HAND.label, times), np.repeat(HAND.prediction, times), 3)
    for name in ("precision_macro", "recall_weighted", "f1_macro", "f1_weighted"):
        assert counted.average(name) == copies.average(name), name


def test_confusion_matrix_has_true_classes_in_rows_that_sum_to_1() -> None:
    matrix = c.confusion_matrix(HAND, 4)  # of counts [2, 1, 0], [0, 1, 0], [1, 1, 0], and no example of the fourth
    assert matrix.shape == (4, 4)
    assert matrix[:, :2].tolist() == [[pytest.approx(2 / 3), pytest.approx(1 / 3)], [0, 1], [0.5, 0.5], [0, 0]]
    assert not matrix[:, 2:].any()
