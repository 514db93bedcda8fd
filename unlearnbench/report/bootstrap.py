"""A 95 % interval over the examples of one seed: Wilson's for accuracy, else a percentile bootstrap (Efron 1979).

It says how far a number would move on other examples of the same kind, and nothing of other training seeds. A bootstrap
of what all examples agree on, as a class that is forgotten altogether, would have no width; Wilson's has (1927).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from unlearnbench.evidence import Floats, Integers, Scores
from unlearnbench.metrics.classification import losses
from unlearnbench.metrics.divergence import js_bits, kl_nats, l2_distance

DRAWS = 1000
RATES = ("accuracy", "recall_weighted")
"""The share of examples that are right, by both its names."""
COUNTED = ("precision_macro", "recall_macro", "f1_macro", "precision_weighted", "f1_weighted")
"""Other functions of the confusion matrix."""


def interval_over_examples(
    metric: str, subjects: Sequence[Scores], references: Sequence[Scores] = ()
) -> tuple[float, float] | None:
    """Return low and high of a metric's 95 % interval over the examples of a role; None where none is known.

    `subjects` are its models: one, or several retrained ones, whose mean is meant. Classification needs them alone; a
    distance to retrained is a mean over the references, of equal rows.
    """
    if metric in RATES:
        return _wilson(float(np.mean([(one.prediction == one.label).mean() for one in subjects])), len(subjects[0]))
    random = np.random.default_rng(0)
    if metric in COUNTED:
        drawn = _counted(metric, subjects[0], random) if len(subjects) == 1 else np.zeros(1)
    else:
        values = _by_example(metric, subjects, references)
        if values is None:
            return None
        drawn = np.array([values[random.integers(len(values), size=len(values))].mean() for _ in range(DRAWS)])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return (float(low), float(high)) if low < high else None


def _wilson(rate: float, count: int) -> tuple[float, float]:
    """Return Wilson's interval of a rate among so many examples; a mean rate need not be a whole number of them."""
    z2 = NormalDist().inv_cdf(0.975) ** 2
    middle, half = rate + z2 / (2 * count), math.sqrt(z2 * (rate * (1 - rate) / count + z2 / (4 * count**2)))
    low, high = (middle - half) / (1 + z2 / count), (middle + half) / (1 + z2 / count)
    return max(low, 0.0), min(high, 1.0)  # which it is but for rounding


def _by_example(metric: str, subjects: Sequence[Scores], references: Sequence[Scores]) -> Floats | None:
    """Return the values (n,) whose mean a metric is; None for a metric that is no such mean, or lacks references."""
    if metric == "loss":
        return _mean([losses(one) for one in subjects])
    if not references:
        return None
    subject = subjects[0]
    if metric == "kl_from_retrained":
        return _mean([kl_nats(other.log_probabilities, subject.log_probabilities) for other in references])
    if metric == "js_to_retrained":
        return _mean([js_bits(subject.probabilities, other.probabilities) for other in references])
    if metric == "activation_distance":
        return _mean([l2_distance(subject.probabilities, other.probabilities) for other in references])
    return None


def _mean(rows: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(rows, axis=0)
    return mean


def _counted(metric: str, scores: Scores, random: np.random.Generator) -> Floats:
    """Draw a metric of the confusion matrix, (DRAWS,): drawing examples draws its cells from a multinomial."""
    classes = scores.logits.shape[1]
    cells, counts = np.unique(scores.label.astype(np.int64) * classes + scores.prediction, return_counts=True)
    drawn = random.multinomial(len(scores), counts / len(scores), size=DRAWS).astype(np.float64)
    label, prediction = np.divmod(cells, classes)
    support, predicted = _totals(drawn, label, classes), _totals(drawn, prediction, classes)
    hits = _totals(drawn * (label == prediction), label, classes)
    score, _, average = metric.partition("_")
    if score == "f1":
        by_class = _ratio(2 * hits, support + predicted)
    else:
        by_class = _ratio(hits, predicted if score == "precision" else support)
    weights = support if average == "weighted" else (support + predicted > 0).astype(np.float64)
    mean: Floats = (by_class * weights).sum(axis=1) / weights.sum(axis=1)
    return mean


def _totals(drawn: Floats, of: Integers, classes: int) -> Floats:
    """Add up the columns (DRAWS, cells) that are of each class, to (DRAWS, classes)."""
    totals: Floats = drawn @ np.eye(classes)[of]
    return totals


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
