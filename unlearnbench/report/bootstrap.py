"""A 95 % interval over the examples of one model's scores: the percentile bootstrap (Efron 1979), of a fixed seed.

It says how far a number would move on other examples of the same kind, and nothing of other training seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearnbench.evidence import Floats, Integers, Scores
from unlearnbench.metrics.classification import losses
from unlearnbench.metrics.divergence import js_bits, kl_nats, l2_distance

DRAWS = 1000
COUNTED = (
    "accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_weighted", "recall_weighted", "f1_weighted",
)  # fmt: skip
"""Metrics that are functions of the confusion matrix."""


def interval_over_examples(
    metric: str, subject: Scores, references: Sequence[Scores] = ()
) -> tuple[float, float] | None:
    """Return low and high of a metric's 95 % interval over the subject's examples; None where none is known.

    Classification needs the subject alone; a distance to retrained is a mean over the references, of equal rows.
    """
    random = np.random.default_rng(0)
    if metric in COUNTED:
        drawn = _counted(metric, subject, random)
    else:
        values = _by_example(metric, subject, references)
        if values is None:
            return None
        drawn = np.array([values[random.integers(len(values), size=len(values))].mean() for _ in range(DRAWS)])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _by_example(metric: str, subject: Scores, references: Sequence[Scores]) -> Floats | None:
    """Return the values (n,) whose mean a metric is; None for a metric that is no such mean, or lacks references."""
    if metric == "loss":
        return losses(subject)
    if not references:
        return None
    if metric == "kl_from_retrained":
        rows = [kl_nats(other.log_probabilities, subject.log_probabilities) for other in references]
    elif metric == "js_to_retrained":
        rows = [js_bits(subject.probabilities, other.probabilities) for other in references]
    elif metric == "activation_distance":
        rows = [l2_distance(subject.probabilities, other.probabilities) for other in references]
    else:
        return None
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
    score, _, average = metric.replace("accuracy", "recall_weighted").partition("_")
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
