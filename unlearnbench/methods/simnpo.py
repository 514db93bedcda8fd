"""SimNPO: negative preference optimisation without a reference, on the loss per answer token.

Fan, Liu, Lin, Jia, Zhang, Mei, Liu: Simplicity Prevails: Rethinking Negative Preference Optimization for LLM
Unlearning, NeurIPS 2025, arXiv:2410.07163, with the retain loss of their SimNPO+RT:

    forget_weight * -(2 / beta) log sigmoid(beta (l / rows - delta)) + retain_weight * CE on retain

l is an example's cross-entropy summed over its `rows`: an image's one label, or an answer's tokens. The paper subtracts
its margin gamma after the product with beta, and the authors' code before it, as here: gamma is beta * delta. Both use
0. Their code puts one and the same retain row beside a forget row in all epochs; ours is another one in each. A retain
weight of 0 leaves the retain set out.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Weight
from unlearnbench.techniques.preferences import row_counts, summed_loss
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Simnpo:
    """Minimise forget_weight * SimNPO on forget + retain_weight * CE on retain."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2025
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    beta: Positive
    delta: Weight
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""

        def loss(forget: Batch, *retain: Batch) -> Losses:
            predictions = problem.predict(model, forget)
            lost = simnpo(summed_loss(predictions), row_counts(predictions), self.beta, self.delta)
            kept = (self.retain_weight * cross_entropy(problem.predict(model, batch)) for batch in retain)
            return self.forget_weight * lost, *kept

        indexes = (problem.forget, problem.retain) if self.retain_weight > 0 else (problem.forget,)
        batches = problem.batches(*indexes, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)


def simnpo(model: Tensor, rows: Tensor, beta: float, delta: float) -> Tensor:
    """Reference-free NPO on the loss per row, from summed losses (n,) and numbers of rows (n,), (n,) float64.

    -(2 / beta) log sigmoid(beta (l / rows - delta)): Fan et al. 2024, arXiv:2410.07163.
    """
    return -(2 / beta) * functional.logsigmoid(beta * (model / rows - delta)).double()
