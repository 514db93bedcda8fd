"""Fisher forgetting: add noise to each weight, and more of it the less the retain set depends on the weight.

Golatkar, Achille, Soatto: Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks, CVPR 2020,
arXiv:1911.04933. theta + n, n ~ N(0, (lambda sigma_h^2)^(1/2) F^(-1/2)), with F the diagonal of the retain set's Fisher
matrix, E_x E_(y ~ p(y|x)) (d log p(y|x) / d theta)^2. `alpha` is (lambda sigma_h^2)^(1/2).

`variance: inverse_root` is the paper's F^(-1/2), up to `limit` where F is near 0. `inverse` is the authors' code:
1 / (F + 1e-8) up to `limit`, or a tenth of it in the head; averaged over each unit's inputs; then ten times as much in
the head and in vectors. Their code also sets the forgotten class's row of the head to about 0, which forgets a class
without any Fisher matrix; ours does not. They sum over all labels, one backward pass for each class; we draw one label
for each example from the model's own prediction, which has the same mean and serves vocabularies too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import evaluating
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import Count, Positive
from unlearnbench.techniques.drawn import drawn
from unlearnbench.techniques.gradients import example_importance
from unlearnbench.techniques.preferences import summed_loss


@dataclass(frozen=True, kw_only=True)
class Fisher:
    """Add Gaussian noise of variance `alpha` times a falling function of the retain set's Fisher information."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2020
    batch_size: Count
    alpha: Positive
    variance: Literal["inverse_root", "inverse"]
    limit: Positive

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: there are no trained weights to add noise to."""
        if adapter_of(problem.spec) is None:
            return None
        return "fisher needs all weights; try model.adapter.r=0, or method=npo"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with noise."""

        def loss(batch: Batch) -> Tensor:
            return summed_loss(problem.predict(model, batch))

        with seeded(problem.seed, "fisher"):
            fisher = example_importance(model, loss, self._relabelled(model, problem))
            problem.record.examples += len(problem.retain)
            spread = self.variances(model, fisher, set(model.get_submodule(problem.parts.head).parameters()))
            with torch.no_grad():
                for name, variance in spread.items():
                    parameter = model.get_parameter(name)
                    parameter.add_(variance.sqrt() * torch.randn_like(parameter))
        return model

    def variances(self, model: nn.Module, fisher: Mapping[str, Tensor], head: set[nn.Parameter]) -> dict[str, Tensor]:
        """Return the variance of each weight's noise, in the shape of the parameter of that name."""
        if self.variance == "inverse_root":
            return {name: self.alpha * value.rsqrt().clamp(max=self.limit) for name, value in fisher.items()}
        found = {}
        for name, value in fisher.items():
            last = model.get_parameter(name) in head
            variance = self.alpha * (1 / (value + 1e-8)).clamp(max=self.limit / 10 if last else self.limit)
            if variance.ndim > 1:
                variance = variance.mean(dim=1, keepdim=True).expand_as(value)
            found[name] = 10 * variance if last or variance.ndim == 1 else variance
        return found

    def _relabelled(self, model: nn.Module, problem: Problem) -> Iterator[Batch]:
        """Yield the retain set in batches, with labels drawn from the model's predictions."""
        for batch in problem.plain(problem.retain, self.batch_size):
            with evaluating(model), torch.no_grad():
                predictions = problem.predict(model, batch)
            yield drawn(predictions, batch)
