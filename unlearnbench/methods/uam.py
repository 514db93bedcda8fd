"""Unlearning-aware minimisation: descend on retain with the gradient taken where the forget loss is high.

Kim, Kim, Chae, Yoon: Unlearning-Aware Minimization, NeurIPS 2025, openreview.net/forum?id=kAuckbcMvi. A min-max
problem, solved to first order as in sharpness-aware minimisation (SAM):

    e_t = rho_t * g_f / ||g_f||,  g_f = gradient of CE on forget at theta
    theta <- theta - lr * (gradient of CE on retain at theta + e_t),  rho_t = rho * (1 + cos(pi t / T)) / 2

With rho = 0 it is fine-tuning on retain. T is `anneal` times the number of steps, and the steps after it are plain
fine-tuning; g_f is the gradient of `ascent_size` examples. The authors' code
(github.com/Harry24k/machine-unlearning-pytorch) takes g_f in training mode, on forget and retain examples together;
ours takes it in evaluation mode, where an example's gradient depends on no other. The paper's algorithm for language
models also multiplies retain's gradient by I - gamma P_f; that code accepts a gamma and does not use it, and ours has
none.

The first steps make retain examples look like forgotten ones: e_t raises retain's loss, and its gradient undoes that,
so a whole class is predicted more, not less. Only as rho falls does training on retain push that class out everywhere.
So the method needs enough steps after its first ones. Each step also takes a gradient on forget, so the method can cost
as much as retraining: on `fashion` with ResNet18 it took 1.1 times as long.

Batch norm: `train`, as in the authors' code, on retain batches; no running statistics see forget examples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several, Weight
from unlearnbench.techniques.displaced import displaced
from unlearnbench.techniques.gradients import ExampleLoss, mean_gradient
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Uam:
    """Descend on retain with displaced gradients: `radius` is rho, how far up the forget loss they are taken at first.

    The radius falls to 0 over the share `anneal` of the steps; each uses at most `ascent_size` forget examples.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2025
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    ascent_size: Count
    radius: Weight
    anneal: Annotated[float, Field(gt=0, le=1)]
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the retain set, forget batches beside it."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        batches = problem.batches(problem.retain, problem.forget, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for _ in range(self.epochs):
            for retain, forget in stepper.epoch(batches):
                few = forget.rows(0, self.ascent_size)
                radius = self.radius_at(stepper.steps / stepper.planned)
                shift = scaled(self._slope(model, loss, few), radius) if radius else {}
                with displaced(stepper, shift):
                    stepper.step(loss, retain)
                problem.record.examples += len(few) if radius else 0
        return model

    def radius_at(self, share: float) -> float:
        """Return rho_t, once that share of all steps is done."""
        return self.radius * (1 + math.cos(math.pi * share / self.anneal)) / 2 if share < self.anneal else 0.0

    def _slope(self, model: nn.Module, loss: ExampleLoss, batch: Batch) -> dict[str, Tensor]:
        """Return the gradient of the mean loss, in evaluation mode, in pieces that fit into memory."""
        size = self.optimizer.micro_batch or len(batch)
        return mean_gradient(model, loss, (batch.rows(at, at + size) for at in range(0, len(batch), size)))


def scaled(slope: dict[str, Tensor], radius: float) -> dict[str, Tensor]:
    """Return the gradient, over all parameters together, at a length of `radius`."""
    length = torch.stack([one.norm() for one in slope.values()]).norm().clamp_min(1e-16)
    return {name: radius / length * one for name, one in slope.items()}
