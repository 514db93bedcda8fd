"""Saliency unlearning: random labels, learned by the weights alone that matter most for the forget set.

Fan, Liu, Zhang, Wong, Wei, Liu: SalUn, ICLR 2024, arXiv:2310.12508:

    m = 1(|gradient of CE on forget, at theta_o| >= gamma),   theta = m * (theta_o + delta) + (1 - m) * theta_o
    L = mean over forget and retain of CE(theta; x, y'), y' random for x in forget, else y' = y

gamma is such that `share` of all weights together have m = 1; the gradient is taken in evaluation mode. The training is
that of random_label, its labels and batches included (their code had mixed batches until April 2024, and has a pass
over forget before one over retain since then), and `share: 1` gives its weights. Weights with m = 0 stay bit for
bit: momentum and weight decay do not reach them, as in the authors' code since 2026; before that both moved them.
`mask: soft` is their SalUn-soft: all weights learn, and after each step theta - theta_o is soft-thresholded, the
proximal step of an L1 penalty on it. As in their code the threshold is the one that puts a share of the weights back:
1 - share at first, which falls linearly to 0, theirs on CIFAR from epoch to epoch, ours from step to step. Theirs go
back to where the epoch began, ours to theta_o, as in the paper.
`labels: wrong` is the paper's y' != y; their code, and with it the published numbers, draws from all classes (`labels:
any`).

Batch norm: `train`, as in their code, here on batches that mix forget and retain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several, Weight
from unlearnbench.techniques.gradients import mean_gradient
from unlearnbench.techniques.held import only
from unlearnbench.techniques.relabel import Labels, no_choice, relabelled
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Salun:
    """Train as random_label does, but only the `share` of the weights that are salient."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2024
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    mask: Literal["hard", "soft"]
    share: Annotated[float, Field(gt=0, le=1)]
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
        masks = self._salient(model, problem) if self.mask == "hard" else {}
        learning = [one for one in model.parameters() if one.requires_grad]
        start = [one.detach().clone() for one in learning] if self.mask == "soft" else []
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        with only(stepper, masks):
            for epoch in range(self.epochs):
                task = relabelled(problem.task, problem.forget, self.labels, problem.seed, epoch)
                for some in stepper.epoch(replace(batches, task=task)):
                    stepper.step(loss, *some)
                    if self.mask == "soft":
                        back = (1 - self.share) * (1 - stepper.steps / stepper.planned)
                        soft_threshold(learning, start, back)
        return model

    def _salient(self, model: nn.Module, problem: Problem) -> dict[str, Tensor]:
        """Return which weights learn, bool, by parameter."""

        def loss(forget: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, forget))

        slopes = mean_gradient(model, loss, problem.plain(problem.forget, self.batch_size))
        problem.record.examples += len(problem.forget)
        return largest(slopes, self.share)


def largest(values: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return which of all values together are the `share` that is largest in size, bool, in their shapes."""
    sizes = torch.cat([value.abs().flatten() for value in values.values()])
    chosen = torch.zeros_like(sizes, dtype=torch.bool)
    chosen[sizes.argsort(descending=True, stable=True)[: max(round(share * len(sizes)), 1)]] = True
    parts = torch.split(chosen, [value.numel() for value in values.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(values.items(), parts, strict=True)}


@torch.no_grad()
def soft_threshold(weights: list[nn.Parameter], start: list[Tensor], share: float) -> None:
    """Move all weights towards their start by one distance, and none beyond it: this `share` of them gets there."""
    moves = [(now - before).abs() for now, before in zip(weights, start, strict=True)]
    count = int(share * sum(move.numel() for move in moves))
    if not count:
        return
    nearest = torch.cat([move.flatten() for move in moves]).topk(count, largest=False, sorted=False)
    threshold = nearest.values.max()
    for now, before, move in zip(weights, start, moves, strict=True):
        now.copy_(before + (now - before).sign() * (move - threshold).clamp(min=0))
