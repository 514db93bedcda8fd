"""Forgetting score: over seeds, can an attack on a forget row tell unlearned models from retrained ones?

Triantafillou et al. 2024, Are we making progress in unlearning?, arXiv:2406.09073: the NeurIPS 2023 challenge.

    score = mean over forget rows of 1/2^k for an attack whose epsilon is in the k-th bucket of .5

A report computes it (report/over_seeds.py) from the runs of a sweep over seeds, and prints the null from splitting the
retrained models beside it (across/cell.py). metrics/forgetting_score.py says what the published code does, and where it
fails. The challenge unlearns one original under many seeds (`unlearn_seed=0,1,...`); over `seed` the original varies
too, and a method that draws nothing at random needs that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from unlearnbench.across.forgetting_score import ForgettingScoreAcross
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.graph.stage import Stage
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class ForgettingScore(ForgettingScoreAcross):
    """Attack each forget row over seeds; a single run adds nothing, and a report of several has the numbers."""

    references: ClassVar[int] = 1
    headline: ClassVar[tuple[Column, ...]] = ()

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the scores of the three roles are enough."""
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return none."""
        return ()
