"""CF-k, catastrophic forgetting of the last blocks: fine-tune them on the retain set, and leave what comes before.

Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru: Towards Adversarial Evaluations for Inexact Machine Unlearning, 2022,
arXiv:2201.06640. Their k counts layers; ours counts blocks (residual or transformer blocks, layers of a plain network),
and trains the classifier as well. With all blocks it is fine-tuning.

    min over theta_k of  CE_r,  theta = (frozen, theta_k)

Batch norm: `train` in the part that learns, as in their code. Batch norm before it keeps its running statistics, as the
weights there do not change: what the last blocks see of an image is then what they saw in the original. In their code
it is in training mode too, and its statistics move. No gradient is computed there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several
from unlearnbench.techniques.reset import freeze_before
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class CfK:
    """Descend on the retain set's cross-entropy with the last `blocks` blocks and the classifier."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "retain training"
    year: ClassVar[int] = 2022
    blocks: Count
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the original with its last blocks trained further."""
        freeze_before(model, problem.parts, self.blocks)

        def loss(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)
