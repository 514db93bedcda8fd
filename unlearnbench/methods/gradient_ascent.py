"""Gradient ascent: undo the training on the forget set by going uphill on its loss.

Thudi, Deza, Chandrasekaran, Papernot: Unrolling SGD, EuroS&P 2022, arXiv:2109.13398. It knows nothing of the retain
set: more steps destroy the model.

    L = -mean over forget of CE(theta; x, y)

Their code (github.com/cleverhans-lab/unrolling-sgd, Unlearning/cumulative_verification.py) takes one step from the
final weights, lr times the number of epochs long, up the gradient of a forget batch. Ours takes several steps and
computes the gradient anew for each, as later papers do.

Batch norm: `train`, as in the code of Thudi et al. and where others ascend on images. Its running statistics then
follow the forget set, which alone, before any step counts, lowers the accuracy on it; `frozen` shows the ascent alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class GradientAscent:
    """Ascend on the forget set's cross-entropy, from the original."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2022
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs uphill on the forget set."""

        def loss(forget: Batch) -> Tensor:
            return -cross_entropy(problem.predict(model, forget))

        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)
