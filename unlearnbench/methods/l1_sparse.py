"""L1-sparse: fine-tune on the retain set under a pull of all weights to zero, which weakens as the training goes on.

Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu: Model Sparsity Can Simplify Machine Unlearning, NeurIPS 2023,
arXiv:2304.04934. In epoch e of E, counted from 0:

    min over theta of  CE_r + alpha (1 - e / E) ||theta||_1

The linear fall is the best of their three schedules. Their code can end with epochs without the penalty, which is the
same fall over fewer epochs; the norm is over all parameters, batch norm's and biases included, as in their code. With
an adapter it is over the adapter's.

Batch norm: `train`, as in their code: its running statistics follow the retain set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several, Weight
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class L1Sparse:
    """Descend on CE on retain + alpha * (1 - epoch / epochs) * the sum of all weights' magnitudes."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "retain training"
    year: ClassVar[int] = 2023
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    alpha: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs on the retain set."""
        weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for epoch in range(self.epochs):
            strength = self.alpha * (1 - epoch / self.epochs)

            def loss(retain: Batch, strength: float = strength) -> Tensor:
                magnitude = torch.stack([weight.abs().sum() for weight in weights]).sum()
                return cross_entropy(problem.predict(model, retain)) + strength * magnitude

            stepper.descend(loss, batches)
        return model
