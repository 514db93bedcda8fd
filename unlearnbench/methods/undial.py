"""UNDIAL: imitate the original with the logit of the label that must go lowered.

Dong, Lin, Belkin, Huerta, Vulic: UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large
Language Models, NAACL 2025, arXiv:2402.10052:

    CE(softmax(z_original - beta onehot(label)), softmax(z))

z are a row's logits: an image's, or those that predict an answer's token. The authors' code forgets plain texts of one
length and counts all their tokens; open-unlearning's copy of it thereby counts prompt and padding. Here only answers
count. The authors use forget rows alone, which is a retain weight of 0.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone.
In either mode the original is in the model's, without dropout.
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
from unlearnbench.techniques.remembered import remembered
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Undial:
    """Minimise forget_weight * UNDIAL on forget + retain_weight * CE on retain; `beta` lowers the label's logit."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "teachers"
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
        teacher = remembered(problem, self.epochs, lambda forget: problem.predict(problem.reference, forget).logits)

        def loss(forget: Batch, *retain: Batch) -> Losses:
            lost = undial(problem.predict(model, forget), teacher(forget), self.beta)
            kept = (self.retain_weight * cross_entropy(problem.predict(model, batch)) for batch in retain)
            return self.forget_weight * lost, *kept

        indexes = (problem.forget, problem.retain) if self.retain_weight > 0 else (problem.forget,)
        batches = problem.batches(*indexes, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )


def undial(model: Predictions, reference: Tensor, beta: float) -> Tensor:
    """Cross-entropy to the reference's softmax with `beta` taken off the label's logit, (n,) float64, rows averaged.

    `reference` (m, c) are logits. Dong et al. 2024, arXiv:2402.10052; prompt and padding do not count.
    """
    lowered = reference - beta * functional.one_hot(model.labels, reference.shape[1]).to(reference.dtype)
    target = torch.softmax(lowered, dim=1)
    return model.averaged(functional.cross_entropy(model.logits, target, reduction="none"))
