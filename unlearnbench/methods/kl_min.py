"""KL minimisation: ascend on what goes, and stay with the original's predictions on what stays.

Maini, Feng, Schwarzschild, Lipton, Kolter: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, the baseline
"KL minimization", arXiv:2401.06121:

    -forget_weight * CE on forget + retain_weight * KL(original || model) on retain

Both are means over rows: an image's label, an answer's tokens. The authors' code takes KL over prompt and padding too;
here only answers count.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone.
In either mode the original is in the model's, without dropout, so that KL begins at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Weight
from unlearnbench.techniques.remembered import reference_softmax
from unlearnbench.training.losses import Losses, cross_entropy, kl_to_teacher
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class KlMin:
    """Minimise retain_weight * KL(original || model) on retain - forget_weight * CE on forget."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2024
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""
        teacher = reference_softmax(problem, self.epochs)

        def loss(forget: Batch, retain: Batch) -> Losses:
            lost = cross_entropy(problem.predict(model, forget))
            kept = kl_to_teacher(problem.predict(model, retain), teacher(retain))
            return -self.forget_weight * lost, self.retain_weight * kept

        batches = problem.batches(problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )
