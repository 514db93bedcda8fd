"""Convolution transpose: swap the height and width of every convolution's kernels, then fine-tune on retain.

One of the top entries of the NeurIPS 2023 unlearning challenge; Triantafillou et al., Are We Making Progress in
Unlearning?, 2024, arXiv:2406.09073; named CT by Cadet et al., Deep Unlearn, EuroS&P 2025, arXiv:2410.01276. We read
their code in the latter's port, kgltop5.py of https://github.com/xcadet/deepunlearn.

W[o, i, y, x] <- W[o, i, x, y], then CE on retain. A kernel of one pixel stays as it is; one that is not square has no
transpose of its shape, and stays too. Their learning rate falls along a cosine from epoch to epoch, ours from step to
step.

Batch norm: `train`, as theirs: its running statistics follow the transposed kernels' outputs on retain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several
from unlearnbench.techniques.layers import convolutions
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Ct:
    """Transpose the kernels of the convolutions, and fine-tune on the retain set."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where no kernel has a transpose other than itself."""
        if squares(problem.reference):
            return None
        return "ct needs a convolution with a square kernel of 2x2 or more; try method=prmq, or model=resnet18"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with transposed kernels, after its epochs on the retain set."""

        def loss(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        transpose(model)
        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)


def squares(model: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions with square kernels of more than one pixel."""
    return [layer for layer in convolutions(model).values() if layer.kernel_size[0] == layer.kernel_size[1] > 1]


def transpose(model: nn.Module) -> None:
    """Swap the height and width of the kernels, in place."""
    with torch.no_grad():
        for layer in squares(model):
            layer.weight.copy_(layer.weight.transpose(2, 3).clone())
