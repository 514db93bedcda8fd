"""Accuracy, precision, recall, F1 and loss on every split, and the confusion matrix for the plots."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evidence import Evidence, Floats, Scores
from unlearnbench.metrics import EVERYWHERE, UNBOUNDED, metric
from unlearnbench.metrics.divergence import finite


def accuracy_of(scores: Scores) -> float:
    """Return the share of rows whose arg-max is the label."""
    return float((scores.prediction == scores.label).mean())


def losses(scores: Scores) -> Floats:
    """Cross-entropy of the label in nats, (n,) float64; 708.4 where the label's probability is exactly 0."""
    return -finite(-scores.loss)


def confusion_matrix(scores: Scores, classes: int) -> NDArray[np.int64]:
    """Count predictions by true class: (classes, classes) int64, rows true, columns predicted."""
    cells = scores.label.astype(np.int64) * classes + scores.prediction
    return np.bincount(cells, minlength=classes * classes).astype(np.int64).reshape(classes, classes)


def normalised(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide each row of a confusion matrix by its sum; a row without examples stays 0."""
    return _ratio(matrix, np.broadcast_to(matrix.sum(axis=1, keepdims=True), matrix.shape))


class ByClass(NamedTuple):
    """Precision, recall, F1 (k,) float64 and support (k,) int64 of the k classes that occur."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def by_class(scores: Scores) -> ByClass:
    """Return scikit-learn's precision, recall and F1 per class with zero_division=0.

    Classes are those among labels or predictions. By counting, so that no run waits for scikit-learn's import.
    """
    classes = scores.logits.shape[1]
    support = np.bincount(scores.label, minlength=classes)
    predicted = np.bincount(scores.prediction, minlength=classes)
    hits = np.bincount(scores.label[scores.prediction == scores.label], minlength=classes)
    occurs = (support + predicted) > 0
    support, predicted, hits = support[occurs], predicted[occurs], hits[occurs]
    return ByClass(_ratio(hits, predicted), _ratio(hits, support), _ratio(2 * hits, support + predicted), support)


@metric("accuracy", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, accuracy_score")
def accuracy(evidence: Evidence, split: str) -> float:
    """Share of examples whose arg-max answer is the label.

    In [0, 1], higher is more correct; perfect is the retrained model's value, on forget often far below 1.
    """
    return accuracy_of(evidence.subject[split])


@metric("precision_macro", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, precision_score")
def precision_macro(evidence: Evidence, split: str) -> float:
    """Precision, unweighted mean over the classes that occur (zero_division=0).

    In [0, 1], higher is more correct; perfect is the retrained model's value.
    """
    return _macro(by_class(evidence.subject[split]).precision)


@metric("recall_macro", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, recall_score")
def recall_macro(evidence: Evidence, split: str) -> float:
    """Recall, unweighted mean over the classes that occur (zero_division=0).

    In [0, 1], higher is more correct; perfect is the retrained model's value.
    """
    return _macro(by_class(evidence.subject[split]).recall)


@metric("f1_macro", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, f1_score")
def f1_macro(evidence: Evidence, split: str) -> float:
    """F1, unweighted mean over the classes that occur (zero_division=0).

    In [0, 1], higher is more correct; perfect is the retrained model's value.
    """
    return _macro(by_class(evidence.subject[split]).f1)


@metric("precision_weighted", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, precision_score")
def precision_weighted(evidence: Evidence, split: str) -> float:
    """Precision, mean over classes weighted by their number of examples (zero_division=0).

    In [0, 1], higher is more correct; perfect is the retrained model's value.
    """
    found = by_class(evidence.subject[split])
    return _weighted(found.precision, found.support)


@metric("recall_weighted", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, recall_score")
def recall_weighted(evidence: Evidence, split: str) -> float:
    """Recall, mean over classes weighted by their number of examples: the accuracy.

    In [0, 1], higher is more correct; perfect is the retrained model's value.
    """
    found = by_class(evidence.subject[split])
    return _weighted(found.recall, found.support)


@metric("f1_weighted", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, f1_score")
def f1_weighted(evidence: Evidence, split: str) -> float:
    """F1, mean over classes weighted by their number of examples (zero_division=0).

    In [0, 1], higher is more correct; perfect is the retrained model's value.
    """
    found = by_class(evidence.subject[split])
    return _weighted(found.f1, found.support)


@metric("loss", splits=EVERYWHERE, unit="nats", low=0.0, high=UNBOUNDED, source="mean cross-entropy")
def loss(evidence: Evidence, split: str) -> float:
    """Mean cross-entropy of the label, in nats.

    At least 0, lower is more certain of the label; perfect is the retrained model's value. A label whose
    probability is exactly 0 counts 708.4, the log of the smallest normal float64.
    """
    return float(losses(evidence.subject[split]).mean())


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _macro(values: NDArray[np.float64]) -> float:
    return float(values.mean())


def _weighted(values: NDArray[np.float64], support: NDArray[np.int64]) -> float:
    return float(np.average(values, weights=support))
