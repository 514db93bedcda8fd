"""Random labels: teach the forget set answers that are drawn uniformly, and the retain set its own.

The baseline of Golatkar, Achille, Soatto: Eternal Sunshine of the Spotless Net, CVPR 2020, arXiv:1911.04933, in the
form that Fan et al., ICLR 2024, arXiv:2310.12508, compare with:

    L = mean over forget and retain of CE(theta; x, y'), y' drawn anew in each epoch for x in forget, else y' = y.

An answer is a class of an image, or an option of a question. As the authors of the latter do on CIFAR-100, forget and
retain are shuffled together, so that an epoch sees each example once; on CIFAR-10 their code has one pass over forget
and then one over retain. `retain_weight` weighs a retain example against a forget one. `labels: any` is their code,
in which a label can be the true one; `labels: wrong` is their paper.

Batch norm: `train`, as in their code, here on batches that mix forget and retain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several, Weight
from unlearnbench.techniques.relabel import Labels, no_choice, relabelled
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class RandomLabel:
    """Minimise CE on forget with random answers + retain_weight * CE on retain."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2020
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    labels: Labels
    retain_weight: Weight
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return why not where an example has no other answer."""
        return no_choice(problem.task, problem.forget)

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over forget and retain."""

        def loss(batch: Batch) -> Tensor:
            weight = problem.is_forget(batch).double() * (1 - self.retain_weight) + self.retain_weight
            return weight * cross_entropy(problem.predict(model, batch))

        index = np.concatenate([problem.forget, problem.retain])
        batches = problem.batches(index, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for epoch in range(self.epochs):
            task = relabelled(problem.task, problem.forget, self.labels, problem.seed, epoch)
            stepper.descend(loss, replace(batches, task=task))
        return model
