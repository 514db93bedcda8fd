"""Negated adapter: train a low-rank adapter on what must go, and subtract it.

Zhang, Chen, Liu, He: Composing Parameter-Efficient Modules with Arithmetic Operations, NeurIPS 2023, arXiv:2306.14870.

    W <- W - strength * (alpha / r) B A,  A and B (rank r) trained on forget by cross-entropy

Their code (github.com/hkust-nlp/PEM_composition, exps/composition_for_unlearning/gpt2_scale.py) multiplies A by
-strength, and ours B: the product is the same. They search the strength on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class LoraNegation:
    """Train the model's adapter on the forget set and negate it, `strength` times."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    epochs: Count
    batch_size: Count
    strength: Positive
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where the model has no adapter."""
        return None if adapter_of(problem.spec) else "lora_negation needs an adapter; try model.adapter.r=8"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with the negated adapter."""
        from unlearnbench.models import adapter

        def loss(forget: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, forget))

        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        trained: Any = problem.optimize(model, loss, batches, self.optimizer)
        adapter.scale(trained, -self.strength)
        return model
