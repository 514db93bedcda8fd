"""Task vector: train further on what must go, and step back by that change.

Ilharco et al.: Editing Models with Task Arithmetic, ICLR 2023, arXiv:2212.04089:

    theta <- theta - strength * (theta reinforced on forget - theta)

Their code (github.com/mlfoundations/task_vectors) fine-tunes CLIP's image encoder under a head that is held fixed; here
all weights learn and move, the head's too. They choose the strength on held-out data; here it is a number. Their vector
covers buffers as well; ours leaves them (batch norm's running statistics) as the original has them.

Batch norm: the authors' models have none. `frozen` trains with the statistics that the result is evaluated with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class TaskVector:
    """Return theta - strength * (theta reinforced on forget - theta)."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    strength: Positive
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: its change is a product, which lora_negation negates."""
        return (
            "task_vector needs all weights; try method=lora_negation, or model.adapter.r=0"
            if (adapter_of(problem.spec))
            else None
        )

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the original, moved away from what reinforcing the forget set would make of it."""
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

        def loss(forget: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, forget))

        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(before[name] - self.strength * (parameter - before[name]))
            for name, buffer in model.named_buffers():
                if name in before:
                    buffer.copy_(before[name])
        return model
