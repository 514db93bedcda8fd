"""SatImp: gradient ascent on the tokens that are known well and yet matter, by two weights.

Yang, Wang, Huang, Liu, Zhang, Han: Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning, ICML 2025,
arXiv:2505.11953:

    forget_weight * -mean(p^beta1 (1 - p)^beta2 CE) + retain_weight * CE on retain

p = exp(-CE) is the probability of a row's label (an image's label, an answer's token). p^beta1 is their weight of
saturation, which lets go of what is forgotten, and (1 - p)^beta2 that of importance, which spares tokens that are
certain. Both are held fixed. At (0, 0) it is gradient ascent, at (beta, 0) WGA. The weights of forget and retain are 1
and .1 in the authors' `satimp_gd`, and their `satimp` has no retain loss; open-unlearning's defaults have the two
swapped. A retain weight of 0 leaves the retain set out.

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
class Satimp:
    """Minimise forget_weight * SatImp on forget + retain_weight * CE on retain; (0, 0) is gradient ascent."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2025
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    beta1: Weight
    beta2: Weight
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""

        def loss(forget: Batch, *retain: Batch) -> Losses:
            lost = satimp(problem.predict(model, forget), self.beta1, self.beta2)
            kept = (self.retain_weight * cross_entropy(problem.predict(model, batch)) for batch in retain)
            return self.forget_weight * lost, *kept

        indexes = (problem.forget, problem.retain) if self.retain_weight > 0 else (problem.forget,)
        batches = problem.batches(*indexes, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)


def satimp(predictions: Predictions, beta1: float, beta2: float) -> Tensor:
    """Reweighted gradient ascent: -p^beta1 (1 - p)^beta2 CE, the weight held fixed, (n,) float64, rows averaged.

    Yang et al. 2025, arXiv:2505.11953.
    """
    loss = functional.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    likely = torch.exp(-loss.detach())
    return predictions.averaged(-(likely**beta1) * (1 - likely) ** beta2 * loss)
