"""Fine-tuning: continue on the retain set and let catastrophic forgetting do the rest.

Warnecke, Pirch, Wressnegger, Rieck: Machine Unlearning of Features and Labels, NDSS 2023, arXiv:2108.11577.

    L = mean over retain of CE(theta; x, y)

Their code (github.com/alewarne/MachineUnlearning, Applications/Poisoning/unlearn/fine_tuning.py) trains on all rows,
the poisoned ones with their true labels, for one epoch or ten; here the forget rows are gone, as unlearning asks.

Batch norm: `train`, as in any further training: its running statistics follow the retain set.
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
class Finetune:
    """Descend on the retain set's cross-entropy, from the original."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "retain training"
    year: ClassVar[int] = 2023
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs on the retain set."""

        def loss(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)
