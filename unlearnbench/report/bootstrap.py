"""A 95 % interval over the examples of one seed, by a formula or a bootstrap.

It shows how much a number would vary on other examples of the same kind, not with other training seeds. Examples that
belong together (one template or author) count together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unlearnbench.evidence import Floats, Integers, Scores
from unlearnbench.metrics.classification import losses
from unlearnbench.metrics.divergence import js_bits, js_published_by_example, kl_nats, l2_distance
from unlearnbench.metrics.intervals import bootstrap, rate_interval

RATES = ("accuracy", "recall_weighted")
"""The share of right answers, under both its names."""
COUNTED = ("precision_macro", "recall_macro", "f1_macro", "precision_weighted", "f1_weighted")
"""Other functions of the confusion matrix."""


def interval_over_examples(
    metric: str, subjects: Sequence[Scores], references: Sequence[Scores] = ()
) -> tuple[float, float] | None:
    """Return the ends of a metric's 95 % interval over examples, or None if it has none.

    `subjects` are the role's models: one, or several retrained ones to average. A distance to retrained also needs the
    `references`, with the same rows, and is averaged over them.
    """
    cluster = subjects[0].cluster
    if metric in RATES:
        return rate_interval(_mean([(one.prediction == one.label).astype(np.float64) for one in subjects]), cluster)
    if metric in COUNTED:
        return bootstrap(_of_confusion(metric, subjects[0]), cluster) if len(subjects) == 1 else None
    values = _by_example(metric, subjects, references)
    return None if values is None else bootstrap(lambda times: float(np.average(values, weights=times)), cluster)


def _by_example(metric: str, subjects: Sequence[Scores], references: Sequence[Scores]) -> Floats | None:
    """Return the values (n,) whose mean is the metric; None if there are no such values."""
    if metric == "loss":
        return _mean([losses(one) for one in subjects])
    if not references:
        return None
    subject = subjects[0]
    if metric == "kl_from_retrained":
        return _mean([kl_nats(other.log_probabilities, subject.log_probabilities) for other in references])
    between = {"js_to_retrained": js_bits, "js_published": js_published_by_example, "activation_distance": l2_distance}
    if metric in between:
        return _mean([between[metric](subject.probabilities, other.probabilities) for other in references])
    return None


def _mean(rows: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(rows, axis=0)
    return mean


def _of_confusion(metric: str, scores: Scores) -> Callable[[Floats], float]:
    """Return a metric of the confusion matrix, as a function of how often each example (n,) is drawn."""
    classes = scores.logits.shape[1]
    cells, cell = np.unique(scores.label.astype(np.int64) * classes + scores.prediction, return_inverse=True)
    label, prediction = np.divmod(cells, classes)
    score, _, average = metric.partition("_")

    def value(times: Floats) -> float:
        drawn = np.bincount(cell, weights=times).astype(np.float64)
        support, predicted = _totals(drawn, label, classes), _totals(drawn, prediction, classes)
        hits = _totals(drawn * (label == prediction), label, classes)
        if score == "f1":
            by_class = _ratio(2 * hits, support + predicted)
        else:
            by_class = _ratio(hits, predicted if score == "precision" else support)
        weights = support if average == "weighted" else (support + predicted > 0).astype(np.float64)
        return float(np.average(by_class, weights=weights))

    return value


def _totals(drawn: Floats, of: Integers, classes: int) -> Floats:
    """Sum the cells of each class, (classes,)."""
    return np.bincount(of, weights=drawn, minlength=classes).astype(np.float64)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
