"""Adaptive selective synaptic dampening: SSD whose threshold follows from the size of the forget set.

Schoepf, Foster, Brintrup: Parameter-Tuning-Free Data Entry Error Unlearning with Adaptive Selective Synaptic Dampening,
2024, arXiv:2402.10098. As in SSD, theta <- min(lambda I_D / I_f, 1) theta where I_f > alpha I_D. Lambda is 1 in the
paper, and `dampening` here; alpha is the percentile 100 - ln(1 + 100 |F| / |D|) of I_f / I_D over all weights. So the
share of weights that are dampened is ln(1 + 100 |F| / |D|) percent: .69 % of them for a forget set of 1 %, and 2.4 %
for one of 10 %.

`importance` as in ssd. Weights that are important to nothing do not count, as in the authors' code. I_D is over all
examples, as in the paper. Their notebook takes retain alone, so that its I_D is smaller and its dampening stronger:
with importance by example our factor is never below |F| / |D|.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.techniques.dampening import dampen, percentile_of_ratios
from unlearnbench.techniques.importance import By, importances
from unlearnbench.training.losses import cross_entropy


@dataclass(frozen=True, kw_only=True)
class Assd:
    """Dampen the weights that are most important to the forget set, the more the larger it is."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2024
    importance: By
    batch_size: Count
    dampening: Positive

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: there are no trained weights to dampen."""
        if adapter_of(problem.spec) is None:
            return None
        return "assd needs all weights; try model.adapter.r=0, or method=npo"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the dampened model."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        everything, goes = importances(model, loss, problem, self.batch_size, self.importance)
        percentile = percentile_for(len(problem.forget), len(problem.forget) + len(problem.retain))
        alpha = percentile_of_ratios(everything, goes, percentile)
        share = dampen(model, everything, goes, alpha, self.dampening)
        problem.record.tables["dampened"] = [{"alpha": alpha, "share_of_weights": share}]
        return model


def percentile_for(forget: int, everything: int) -> float:
    """Return 100 - ln(1 + 100 forget / everything), the paper's percentile, from numbers of examples."""
    return 100 - math.log1p(100 * forget / everything)
