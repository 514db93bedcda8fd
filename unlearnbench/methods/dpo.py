"""Direct preference optimisation: prefer the corrected answer to the one that must go, more than the original does.

Rafailov, Sharma, Mitchell, Ermon, Manning, Finn: Direct Preference Optimization, NeurIPS 2023, eq. 7,
arXiv:2305.18290; for unlearning as in Zhang et al. 2024, arXiv:2404.05868, with their factor 2 and a retain loss:

    forget_weight * -(2 / beta) log sigmoid(beta [(l_original - l)_corrected - (l_original - l)_own])
    + retain_weight * CE on retain

l is an answer's cross-entropy summed over its tokens. The corrected answer is the data set's: the unbiased judgement,
or a refusal (TOFU), where published results call it IdkDPO.

Batch norm: language models have none; the field changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Weight
from unlearnbench.techniques.preferences import dpo, summed_loss
from unlearnbench.techniques.remembered import reference_losses
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Dpo:
    """Minimise forget_weight * DPO of corrected over own answers on forget + retain_weight * CE on retain."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2023
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    beta: Positive
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where the data set knows no corrected answers."""
        return None if problem.twins is not None else "dpo needs corrected answers; try idk, which needs none"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set's two answers, retain batches beside them."""

        def corrected(index: Index, _generator: torch.Generator) -> Batch:
            return problem.task.batch(problem.corrected(index), None)

        reference = reference_losses(problem, self.epochs)

        def by_both(batch: Batch) -> tuple[Tensor, Tensor]:
            return summed_loss(problem.predict(model, batch)), reference(batch)

        def loss(forget: Batch, winning: Batch, retain: Batch) -> Losses:
            gained = self.forget_weight * dpo(by_both(winning), by_both(forget), self.beta)
            kept = self.retain_weight * cross_entropy(problem.predict(model, retain))
            return gained, torch.zeros_like(gained), kept

        batches = problem.batches(
            problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs, beside=corrected
        )
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )
