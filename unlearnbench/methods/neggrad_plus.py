"""NegGrad+: fine-tune on the retain set while going uphill on the forget set.

Kurmanji, Triantafillou, Hayes, Triantafillou: Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv:2302.09880.
With the cross-entropies of a retain and a forget batch:

    min  a CE_r - (1 - a) CE_f

An epoch is one pass over retain, beside which forget is gone through again and again. At a = 1 it is fine-tuning.

Batch norm: `train` in their code: a retain and a forget batch are each normalised by themselves, and the running
statistics, which the result is evaluated with, lie between the two. Where a class is forgotten that costs accuracy on
retain, so our default is `frozen`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class NeggradPlus:
    """Minimise retain_weight * CE on retain - (1 - retain_weight) * CE on forget."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2023
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    retain_weight: Annotated[float, Field(ge=0, le=1)]
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the retain set, forget batches beside it."""

        def loss(retain: Batch, forget: Batch) -> Losses:
            kept = cross_entropy(problem.predict(model, retain))
            lost = cross_entropy(problem.predict(model, forget))
            return self.retain_weight * kept, -(1 - self.retain_weight) * lost

        batches = problem.batches(problem.retain, problem.forget, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)
