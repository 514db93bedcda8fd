"""A 95 % interval over the examples of one seed, by a formula or a bootstrap.

It says how far a number would move on other examples of the same kind, and nothing about other training seeds. Examples
that belong together (of one template or author) count together. Drawing is SciPy's. Counting precision and recall again
for each draw is ours: with scikit-learn it takes 17 to 59 times as long (`metrics/classification.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unlearnbench.evidence import Floats, Scores
from unlearnbench.metrics.classification import by_class, losses
from unlearnbench.metrics.divergence import DISTANCES
from unlearnbench.metrics.intervals import bootstrap, rate_interval

RATES = ("accuracy", "recall_weighted")
"""The share of right answers, under both its names."""
COUNTED = ("precision_macro", "recall_macro", "f1_macro", "precision_weighted", "f1_weighted")
"""Other functions of the confusion matrix."""


def interval_over_examples(
    metric: str, subjects: Sequence[Scores], references: Sequence[Scores] = ()
) -> tuple[float, float] | None:
    """Return the ends of a metric's 95 % interval over examples, or None if it has none.

    `subjects` are its models: one, or several retrained ones, whose mean the interval is for. A distance to retrained
    is a mean over the references, which have the same rows. Classification needs no references.
    """
    cluster = subjects[0].cluster
    if metric in RATES:
        return rate_interval(_mean([(one.prediction == one.label).astype(np.float64) for one in subjects]), cluster)
    if metric in COUNTED:
        return bootstrap(_of_confusion(metric, subjects[0]), cluster) if len(subjects) == 1 else None
    values = _by_example(metric, subjects, references)
    return None if values is None else bootstrap(lambda times: float(np.average(values, weights=times)), cluster)


def _by_example(metric: str, subjects: Sequence[Scores], references: Sequence[Scores]) -> Floats | None:
    """Return the values (n,) whose mean a metric is; None for other metrics, and for a distance without references."""
    if metric == "loss":
        return _mean([losses(one) for one in subjects])
    if metric not in DISTANCES or not references:
        return None
    return _mean([DISTANCES[metric](subjects[0], other) for other in references])


def _mean(rows: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(rows, axis=0)
    return mean


def _of_confusion(metric: str, scores: Scores) -> Callable[[Floats], float]:
    """Return a metric of the confusion matrix, as a function of how often each example (n,) is drawn."""
    classes = scores.logits.shape[1]
    cells, cell = np.unique(scores.label.astype(np.int64) * classes + scores.prediction, return_inverse=True)
    label, prediction = np.divmod(cells, classes)

    def value(times: Floats) -> float:
        drawn = np.bincount(cell, weights=times).astype(np.float64)
        return by_class(label, prediction, classes, drawn).average(metric)

    return value
