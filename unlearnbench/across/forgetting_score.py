"""The NeurIPS 2023 forgetting score over the seeds of a sweep; metrics/forgetting_score.py has formula and source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.across.cell import Models, Values
from unlearnbench.metrics.forgetting_score import epsilons, forgetting_score
from unlearnbench.metrics.measure import Column

KEPT = ("retain", "test")
"""Where a method must not lose accuracy."""


@dataclass(frozen=True, kw_only=True)
class ForgettingScoreAcross:
    """Ask how well the best attack on each forget row tells unlearned models from retrained ones.

    `forgetting_score` is in [0, 1], and higher is better; perfect is the null, about .2, not 1. `final_score` is that
    times the accuracy on retain and on test, each divided by the retrained models': the number that entries of the
    challenge were ranked by. `forgetting_epsilon` is the median over the forget rows of the attack's epsilon, in
    [0, 50], and lower is better.
    """

    delta: Annotated[float, Field(ge=0, lt=1)]
    fewest: Annotated[int, Field(ge=3, le=100_000)]
    draws: Annotated[int, Field(ge=2, le=10_000)]
    higher: ClassVar[frozenset[str]] = frozenset({"forgetting_score", "final_score"})

    def numbers(self, unlearned: Models, retrained: Models) -> Values:
        """Return the score, the final score and the median epsilon.

        There is no final score where the retrained models get nothing right on retain or test.
        """
        epsilon = epsilons(unlearned.confidence["forget"], retrained.confidence["forget"], self.delta)
        score = forgetting_score(epsilon, len(unlearned))
        found = {("forget", "forgetting_score"): score, ("forget", "forgetting_epsilon"): float(np.median(epsilon))}
        kept = [(unlearned.right[split].mean(), retrained.right[split].mean()) for split in KEPT]
        if all(theirs > 0 for _, theirs in kept):
            found["forget", "final_score"] = float(score * np.prod([mine / theirs for mine, theirs in kept]))
        return found

    def columns(self, models: int) -> Sequence[Column]:
        """Return all of them."""
        return [Column(name, "forget") for name in ("forgetting_score", "final_score", "forgetting_epsilon")]
