"""I don't know: teach a refusal as the answer to every question that must be forgotten.

Maini, Feng, Schwarzschild, Lipton, Kolter: TOFU, COLM 2024, the baseline "preference optimization", arXiv:2401.06121:

    forget_weight * NLL(refusal) on forget questions + retain_weight * NLL on retain

as in the paper and the authors' code, where the mean is over all tokens of both. A number for `beta` gives what
open-unlearning's results call IdkDPO: direct preference optimisation (see dpo) with the refusal as the winning answer.
A refusal is drawn for each row at each epoch, as theirs are. The refusals here are our own.

Batch norm: language models have none; the field changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Weight
from unlearnbench.tasks.kinds import text_task
from unlearnbench.techniques.preferences import dpo, summed_loss
from unlearnbench.techniques.remembered import Teacher, reference_losses
from unlearnbench.techniques.room import check_room
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Idk:
    """Minimise forget_weight * NLL of a refusal, or DPO of it over the own answer, + retain_weight * CE on retain.

    `refusals` are the answers to draw from; `beta` null is the NLL, a number is that of DPO.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2024
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    refusals: Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Field(min_length=1, max_length=1000)]
    beta: Positive | None
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def check(self, problem: Problem) -> None:
        """Raise UserError where the longest refusal does not fit behind a forget question."""
        task = text_task(problem.task)
        longest = max(self.refusals, key=lambda refusal: len(task.encoder.tokens(refusal)))
        check_room(task, problem.forget, longest, "with the longest of method.refusals as the answer")

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over refused forget questions, retain batches beside them."""

        def refused(index: Index, generator: torch.Generator) -> Batch:
            drawn = torch.randint(len(self.refusals), (len(index),), generator=generator)
            return problem.answered(index, [self.refusals[number] for number in drawn.tolist()])

        reference = reference_losses(problem, self.epochs)

        def anew(batch: Batch) -> Tensor:
            with torch.no_grad():
                return summed_loss(problem.predict(problem.reference, batch))

        def by_both(batch: Batch, before: Teacher) -> tuple[Tensor, Tensor]:
            return summed_loss(problem.predict(model, batch)), before(batch)

        def loss(forget: Batch, refusal: Batch, retain: Batch) -> Losses:
            if self.beta is None:
                learnt = cross_entropy(problem.predict(model, refusal))
            else:
                learnt = dpo(by_both(refusal, anew), by_both(forget, reference), self.beta)
            kept = self.retain_weight * cross_entropy(problem.predict(model, retain))
            return torch.zeros_like(learnt), self.forget_weight * learnt, kept

        batches = problem.batches(
            problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs, beside=refused
        )
        against = None if self.beta is None else problem.reference
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=against)
