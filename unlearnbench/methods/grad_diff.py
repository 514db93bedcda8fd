"""Gradient difference: ascend on what goes while descending on what stays.

Liu, Liu, Stone: Continual Learning and Private Unlearning, CoLLAs 2022, arXiv:2203.12817; by this name in Maini et al.:
TOFU, COLM 2024, arXiv:2401.06121.

    L = -a mean over forget of CE + b mean over retain of CE,  a `forget_weight`, b `retain_weight`

The former authors' code (github.com/Cranial-XIX/Continual-Learning-Private-Unlearning) has no such loss. The latter's
(github.com/locuslab/tofu, dataloader.py) has it with a = b = 1, a random retain row beside each forget row, and means
over all tokens of a batch, as here.

Batch norm: TOFU's models have none. `frozen` is nearest to that: with `train`, forget and retain batches are each
normalised by themselves, and the running statistics lie between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Weight
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class GradDiff:
    """Minimise retain_weight * CE on retain - forget_weight * CE on forget."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2022
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""

        def loss(forget: Batch, retain: Batch) -> Losses:
            lost = cross_entropy(problem.predict(model, forget))
            kept = cross_entropy(problem.predict(model, retain))
            return -self.forget_weight * lost, self.retain_weight * kept

        batches = problem.batches(problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)
