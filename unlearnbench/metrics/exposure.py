"""Which forget rows are still most exposed: the ones that a model is surer of than models that never saw them.

    score(x) = (phi_unlearned(x) - mean_k phi_retrained_k(x)) / s

phi is the confidence in log odds (`confidence.py`), and s the standard deviation of phi over the K retrained models,
pooled over all forget rows; with one of them s is unknown, and the score is in log odds. A difference that takes away
how easy a row is anyway is the attack of Watson et al., ICLR 2022, arXiv:2111.08440 (difficulty calibration).
Where unlearned and retrained come from the same distribution a row's score has mean 0 and, with s known, variance
1 + 1/K on average. The largest of many is above that, so a retrained model's top ten are not at 0 either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unlearnbench.evidence import Floats, Integers, Scores
from unlearnbench.metrics.confidence import confidence


@dataclass(frozen=True, eq=False)
class Exposure:
    """The score of each row (n,), higher is more exposed, and what it is made of.

    `retrained` (n,) is the mean over the references, NaN without any: then the score is the confidence itself, which
    says nothing of how a model would answer that never saw the row. `spread` is s; NaN with fewer than two references.
    """

    score: Floats
    unlearned: Floats
    retrained: Floats
    spread: float

    def most(self, count: int, index: Integers) -> Integers:
        """Return the places of the `count` most exposed rows, the highest first; equal ones by `index` (n,)."""
        order: Integers = np.lexsort((index, -self.score))[:count]
        return order


def exposure(unlearned: Scores, retrained: Sequence[Scores]) -> Exposure:
    """Return how exposed each row of forget is, from the scores of the unlearned and the retrained models on it."""
    own = confidence(unlearned)
    if not retrained:
        return Exposure(own, own, np.full(len(own), np.nan), math.nan)
    others = np.stack([confidence(one) for one in retrained])
    mean: Floats = others.mean(axis=0)
    spread = float(np.sqrt(others.var(axis=0, ddof=1).mean())) if len(others) > 1 else math.nan
    return Exposure((own - mean) / (spread if spread > 0 else 1.0), own, mean, spread if spread > 0 else math.nan)
