"""EU-k, exact unlearning of the last blocks: train them from new weights on the retain set, and leave the rest.

Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru: Towards Adversarial Evaluations for Inexact Machine Unlearning, 2022,
arXiv:2201.06640. Their k counts layers; ours counts blocks (residual or transformer blocks, layers of a plain network),
and trains the classifier as well. With all blocks it is retraining. Of a pretrained model the new weights are the
pretrained ones, as in their code.

    min over theta_k, from its initialisation, of  CE_r,  theta = (frozen, theta_k)

Batch norm: `train` in the part that learns. Its weights and statistics start anew there, and must follow; their code
resets convolutions and linear layers alone. Batch norm before it keeps its
running statistics, as the weights there do not change; in their code it is in training mode too. No gradient is
computed there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several
from unlearnbench.techniques.reset import freeze_before, reset_from
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class EuK:
    """Put new weights into the last `blocks` blocks and the classifier, and descend on the retain set with them."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "retain training"
    year: ClassVar[int] = 2022
    blocks: Count
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: the weights under it have learned the rows, and would stay."""
        if adapter_of(problem.spec) is None:
            return None
        return "eu_k needs all weights, to start some anew; try method=cf_k, or model.adapter.r=0"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the original with its last blocks trained anew."""
        reset_from(model, problem.start(), problem.parts, self.blocks)
        freeze_before(model, problem.parts, self.blocks)

        def loss(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)
