"""Single numbers that weigh forgetting against what should stay."""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Evidence
from unlearnbench.metrics import OPTIONS, metric
from unlearnbench.metrics.classification import accuracy_of


def aus_score(test_original: float, test_unlearned: float, delta: float) -> float:
    """Return the adaptive unlearning score: two test accuracies, and the distance of forget accuracy to its target."""
    return (1 - (test_original - test_unlearned)) / (1 + delta)


@metric(
    "tug_of_war",
    splits=("forget",),
    unit="score",
    low=0.0,
    high=1.0,
    ideal=1.0,
    relative=True,
    needs=(OPTIONS,),
    source="Zhao et al. 2024, What makes unlearning hard and what to do about it, arXiv:2406.01257",
)
def tug_of_war(evidence: Evidence, split: str) -> float:
    """Product over forget, retain, test of (1 - |accuracy - mean accuracy of the retrained|).

    In [0, 1], higher is better, 1 is perfect: the retrained models' accuracies on all three.
    """
    product = 1.0
    for part in ("forget", "retain", "test"):
        target = np.mean([accuracy_of(reference[part]) for reference in evidence.references])
        product *= 1 - abs(accuracy_of(evidence.subject[part]) - float(target))
    return product


@metric(
    "aus",
    splits=("forget",),
    unit="score",
    low=0.0,
    high=2.0,
    ideal=1.0,
    needs=(OPTIONS,),
    source="Cotogni et al. 2023, DUCK, arXiv:2312.02052",
)
def aus(evidence: Evidence, split: str) -> float | None:
    """Adaptive unlearning score: test accuracy kept, over 1 + distance of forget to its target.

    In [0, 2], higher is better, 1 is perfect (above 1 where test accuracy rose above the original's). The target
    is 0 for a forgotten class (and test is then without it), whether or not test has images of it; for a random forget
    set it is the test accuracy. The authors' code takes a class's test images for delta, ours the forget set.
    """
    test = "test_retain" if evidence.whole_class else "test"
    if test not in evidence.subject:
        return None
    unlearned = accuracy_of(evidence.subject[test])
    target = 0.0 if evidence.whole_class else unlearned
    delta = abs(target - accuracy_of(evidence.subject[split]))
    return aus_score(accuracy_of(evidence.original[test]), unlearned, delta)
