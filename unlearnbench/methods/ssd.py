"""Selective synaptic dampening: shrink the weights that are far more important to forget than to all examples.

Foster, Schoepf, Brintrup: Fast Machine Unlearning without Retraining through Selective Synaptic Dampening, AAAI 2024,
arXiv:2308.07707. With I_D and I_f the mean squared gradients over all and over forget examples,
theta <- min(lambda I_D / I_f, 1) theta where I_f > alpha I_D. Lambda is `dampening` here.

The paper's importance is the diagonal of the Fisher matrix, a mean over examples: `importance: example`. The authors'
code squares the gradient of each batch's mean loss instead, `importance: batch`, which is faster, depends on which
examples share a batch, and grows where a batch's examples agree, as those of one class do. Their batches go through
retain, then through forget, in order; so do ours. But where they forget a class, they list retain class by class, so
that most batches are of one class and I_D is larger; ours are mixed. In evaluation mode, without augmentation, as
theirs.

The forget set is part of all examples, so I_f / I_D is at most |D| / |F| (by batch: about). At an alpha that large or
larger nothing changes: the paper's 10 is too much for one class of ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.techniques.dampening import dampen
from unlearnbench.techniques.importance import By, importances
from unlearnbench.training.losses import cross_entropy


@dataclass(frozen=True, kw_only=True)
class Ssd:
    """Dampen weights that are over `alpha` times as important to the forget set as to all training examples."""

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
        return "ssd needs all weights; try model.adapter.r=0, or method=npo"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the dampened model."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        everything, goes = importances(model, loss, problem, self.batch_size, self.importance)
        share = dampen(model, everything, goes, self.alpha, self.dampening)
        problem.record.tables["dampened"] = [{"alpha": self.alpha, "share_of_weights": share}]
        return model
