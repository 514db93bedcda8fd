"""SFR-on: ascend on forget in the weights that matter more to it than to retain, and repair on retain after each step.

Huang, Cheng, Zheng, Wang, He, Li, Huang: Unified Gradient-Based Machine Unlearning with Remain Geometry Enhancement,
NeurIPS 2024, arXiv:2409.19732. Saliency forgetting in the remain-preserving manifold, online:

    forget:  theta_f <- theta - lr * a_t * m * grad(-sum_i c_i l_i / n),  c_i ~ 1 / l_i^lambda, their mean is 1
             m = [F_forget >= gamma * F_retain],  a_t = a * (1 + cos(pi t / T)) / 2
    repair:  `repairs` steps of theta_f <- theta_f - lr * grad(CE on retain)
    slow:    theta <- theta + beta * (theta_f - theta)

F is the mean over batches of the squared batch gradient, in evaluation mode, at the original. The coefficients c are
held fixed. We take them from losses in evaluation mode, in a pass of their own: so they do not depend on how a step is
cut, and batch norm sees no example twice. As in the authors' code, forget and repair share one optimiser with its
momentum, the mask is on the gradient alone, and beta is 1, which leaves the slow step out. Their code clips the norm
of the forget gradient alone; ours that of both, and retain gradients hardly reach 7.

Batch norm: `train`, as in the authors' code, where the running statistics see forget batches once in every five steps,
and end on retain batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm, evaluating
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Weight
from unlearnbench.techniques.gradients import batch_importance
from unlearnbench.techniques.lookup import places
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.stepper import Stepper


@dataclass(frozen=True, kw_only=True)
class SfrOn:
    """Take one masked step up the forget loss, then `repairs` steps down the retain loss, for some retain epochs.

    `ascent` is a, `power` lambda, `saliency` gamma and `slow` beta.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2024
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    ascent: Weight
    repairs: Count
    power: Weight
    saliency: Weight
    slow: Annotated[float, Field(gt=0, le=1)]
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the retain set, with a forget step before every few of its steps."""
        masks = self.salient(model, problem)
        batches = problem.batches(problem.retain, problem.forget, size=self.batch_size, epochs=self.epochs)
        total, done = batches.steps, 0
        stepper = problem.stepper(
            model, self.optimizer, total + math.ceil(total / self.repairs), batch_norm=self.batch_norm
        )
        anchor = _copy(model)
        for _ in range(self.epochs):
            for retain, forget in stepper.epoch(batches):
                if done % self.repairs == 0:
                    share = self.ascent * (1 + math.cos(math.pi * done / total)) / 2
                    self._ascend(stepper, problem, forget, masks, share)
                if stepper.steps < stepper.planned:
                    stepper.step(lambda batch: cross_entropy(problem.predict(model, batch)), retain)
                done += 1
                if self.slow < 1 and (done % self.repairs == 0 or done == total):
                    _return_to(model, anchor, self.slow)
                    anchor = _copy(model)
        return model

    def salient(self, model: nn.Module, problem: Problem) -> dict[str, Tensor]:
        """Return which weights matter to forget at least `saliency` times as much as to retain, by parameter."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        forget, retain = (
            batch_importance(model, loss, problem.plain(index, self.batch_size))
            for index in (problem.forget, problem.retain)
        )
        problem.record.examples += len(problem.forget) + len(problem.retain)
        return {name: forget[name] >= self.saliency * retain[name] for name in forget}

    def coefficients(self, losses: Tensor) -> Tensor:
        """Return how much each example counts, from its loss (n,): little where it is forgotten; their mean is 1."""
        weights = 1 / (losses**self.power + 1e-15)
        return weights / weights.mean()

    def _ascend(
        self, stepper: Stepper, problem: Problem, forget: Batch, masks: Mapping[str, Tensor], share: float
    ) -> None:
        """Take one step up the forget loss in the masked weights."""
        model = stepper.model
        with evaluating(model), torch.no_grad():
            weights = self.coefficients(cross_entropy(problem.predict(model, forget)))

        def loss(batch: Batch) -> Tensor:
            return -share * weights[places(batch, forget)] * cross_entropy(problem.predict(model, batch))

        with _gradients_through(model, masks):
            stepper.step(loss, forget)


@contextmanager
def _gradients_through(model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Keep only the gradients of the masked weights inside the block."""
    parameters = dict(model.named_parameters())
    hooks: list[Any] = [
        parameters[name].register_hook(lambda slope, mask=mask: slope * mask)  # type: ignore[no-untyped-call]
        for name, mask in masks.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _copy(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters() if parameter.requires_grad]


def _return_to(model: nn.Module, anchor: list[Tensor], share: float) -> None:
    """Leave only that share of the weights' way since the anchor."""
    learning = (parameter for parameter in model.parameters() if parameter.requires_grad)
    with torch.no_grad():
        for parameter, before in zip(learning, anchor, strict=True):
            parameter.copy_(torch.lerp(before, parameter, share))
