"""Accuracy, precision, recall, F1 and loss on every split, and the confusion matrix for the plots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Integers, Scores
from unlearnbench.metrics import EVERYWHERE, OPTIONS, UNBOUNDED, Number, metric
from unlearnbench.metrics.divergence import finite


def accuracy_of(scores: Scores) -> float:
    """Return the share of rows whose arg-max is the label."""
    return float((scores.prediction == scores.label).mean())


def losses(scores: Scores) -> Floats:
    """Return the label's cross-entropy in nats, (n,) float64; 708.4 where the label's probability is exactly 0."""
    return -finite(-scores.loss)


def confusion_matrix(scores: Scores, classes: int) -> Floats:
    """Return the share of each true class (rows) that is predicted as each class (columns), (classes, classes).

    The row of a class without examples is 0.
    """
    from sklearn.metrics import confusion_matrix

    places = np.arange(classes)
    rates: Floats = confusion_matrix(scores.label, scores.prediction, labels=places, normalize="true")
    return rates


@dataclass(frozen=True)
class ByClass:
    """Precision, recall and F1 of the k classes that occur among labels or predictions, and their support, (k,)."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Floats

    def average(self, name: str) -> float:
        """Return a score by its name, such as "f1_macro" or "recall_weighted"."""
        score, _, kind = name.partition("_")
        return float(np.average(getattr(self, score), weights=self.support if kind == "weighted" else None))


def by_class(label: Integers, prediction: Integers, classes: int, times: Floats | None = None) -> ByClass:
    """Return scikit-learn's precision, recall and F1 by class, with zero_division=0, of rows (n,).

    `times` is how often each row counts: once, if not given. The counting is ours because an interval in a report
    repeats it 1,000 times. scikit-learn's function with sample_weight takes 17 to 59 times as long for that (60 to
    10,000 rows, 10 classes).
    """
    counts = np.ones(len(label)) if times is None else times
    right = label == prediction
    support, predicted = _totals(label, counts, classes), _totals(prediction, counts, classes)
    hits = _totals(label[right], counts[right], classes)
    occurs = (support + predicted) > 0
    support, predicted, hits = support[occurs], predicted[occurs], hits[occurs]
    return ByClass(_ratio(hits, predicted), _ratio(hits, support), _ratio(2 * hits, support + predicted), support)


def _totals(of: Integers, counts: Floats, classes: int) -> Floats:
    return np.bincount(of, counts, minlength=classes).astype(np.float64)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


@metric(
    "accuracy",
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=(OPTIONS,),
    source="scikit-learn, accuracy_score",
)
def accuracy(evidence: Evidence, split: str) -> float:
    """Share of examples whose arg-max answer is the label.

    In [0, 1], higher is more correct; perfect is the retrained model's value, on forget often far below 1.
    """
    return accuracy_of(evidence.subject[split])


AVERAGES = (
    Number(
        "precision_macro",
        "Precision, unweighted mean over the classes that occur (zero_division=0)",
        source="scikit-learn, precision_score",
    ),
    Number(
        "recall_macro",
        "Recall, unweighted mean over the classes that occur (zero_division=0)",
        source="scikit-learn, recall_score",
    ),
    Number(
        "f1_macro",
        "F1, unweighted mean over the classes that occur (zero_division=0)",
        source="scikit-learn, f1_score",
    ),
    Number(
        "precision_weighted",
        "Precision, mean over classes weighted by their number of examples (zero_division=0)",
        source="scikit-learn, precision_score",
    ),
    Number(
        "recall_weighted",
        "Recall, mean over classes weighted by their number of examples: the accuracy",
        source="scikit-learn, recall_score",
    ),
    Number(
        "f1_weighted",
        "F1, mean over classes weighted by their number of examples (zero_division=0)",
        source="scikit-learn, f1_score",
    ),
)


@metric(*AVERAGES, splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, needs=(OPTIONS,))
def averages(evidence: Evidence, split: str) -> dict[str, float]:
    """Return precision, recall and F1, each as both means over the classes.

    In [0, 1], higher is more correct; perfect is the retrained model's value.
    """
    scores = evidence.subject[split]
    found = by_class(scores.label, scores.prediction, scores.logits.shape[1])
    return {each.name: found.average(each.name) for each in AVERAGES}


@metric("loss", splits=EVERYWHERE, unit="nats", low=0.0, high=UNBOUNDED, needs=(OPTIONS,), source="mean cross-entropy")
def loss(evidence: Evidence, split: str) -> float:
    """Mean cross-entropy of the label, in nats.

    At least 0, lower is more certain of the label; perfect is the retrained model's value. A label whose
    probability is exactly 0 counts 708.4, the log of the smallest normal float64.
    """
    return float(losses(evidence.subject[split]).mean())
