"""Loss-free selective synaptic dampening: SSD without labels.

Foster, Schoepf, Brintrup: Loss-Free Machine Unlearning, ICLR 2024 (Tiny Papers), arXiv:2402.19308. As in SSD,
theta <- min(lambda I_D / I_f, 1) theta where I_f > alpha I_D, but the importance of a weight is how much it moves the
outputs: the mean over batches of |d mean ||f(x)||^2 / d theta|, with f the logits. Lambda is `dampening` here.

`importance: batch` takes the gradient of a batch's mean, as the authors do: they publish two changed lines for SSD's
code (README.md of github.com/if-loops/selective-synaptic-dampening). `example` is the mean over examples, as the
equation can also be read. Text has a row of logits for each answer token, averaged over the batch: it needs the answers
as inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.techniques.dampening import dampen
from unlearnbench.techniques.importance import By, importances


@dataclass(frozen=True, kw_only=True)
class Lfssd:
    """Dampen weights to which the forget set's outputs are over `alpha` times as sensitive as all outputs are."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2024
    importance: By
    batch_size: Count
    alpha: Positive
    dampening: Positive

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: there are no trained weights to dampen."""
        if adapter_of(problem.spec) is None:
            return None
        return "lfssd needs all weights; try model.adapter.r=0, or method=npo"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the dampened model."""

        def loss(batch: Batch) -> Tensor:
            predictions = problem.predict(model, batch)
            return predictions.averaged(predictions.logits.square().sum(dim=1))

        everything, goes = importances(model, loss, problem, self.batch_size, self.importance, of=torch.abs)
        share = dampen(model, everything, goes, self.alpha, self.dampening)
        problem.record.tables["dampened"] = [{"alpha": self.alpha, "share_of_weights": share}]
        return model
