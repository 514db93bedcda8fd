"""WGA: gradient ascent that weighs each answer token by its own likelihood, so that what is forgotten stops moving.

Wang, Zhou, Zhou, Shin, Han, Weinberger: Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond,
ICLR 2025, arXiv:2502.19301:

    forget_weight * -mean(p^beta CE) + retain_weight * CE on retain

The mean is over rows (an image's label, an answer's tokens), p = exp(-CE) is the label's probability, and the weight
p^beta is held fixed: no gradient goes through it. The retain loss is that of open-unlearning; the authors' code has
none, or KL to the original. At beta 0 it is gradient ascent. A retain weight of 0 leaves the retain set out.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Weight
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Wga:
    """Minimise forget_weight * WGA on forget + retain_weight * CE on retain; `beta` 0 is gradient ascent."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2025
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    beta: Weight
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""

        def loss(forget: Batch, *retain: Batch) -> Losses:
            lost = wga(problem.predict(model, forget), self.beta)
            kept = (self.retain_weight * cross_entropy(problem.predict(model, batch)) for batch in retain)
            return self.forget_weight * lost, *kept

        indexes = (problem.forget, problem.retain) if self.retain_weight > 0 else (problem.forget,)
        batches = problem.batches(*indexes, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)


def wga(predictions: Predictions, beta: float) -> Tensor:
    """Weighted gradient ascent: -p^beta CE, the weight p^beta held fixed, (n,) float64, rows averaged.

    Wang et al. 2025, arXiv:2502.19301.
    """
    loss = functional.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    return predictions.averaged(-(torch.exp(-loss.detach()) ** beta) * loss)
