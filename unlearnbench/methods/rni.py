"""Repeated noise injection: in each round add noise to some weights and train only these, then fine-tune all.

One of the top entries of the NeurIPS 2023 unlearning challenge; Triantafillou et al., Are We Making Progress in
Unlearning?, 2024, arXiv:2406.09073; named RNI by Cadet et al., Deep Unlearn, EuroS&P 2025, arXiv:2410.01276. We read
their code in the latter's port, kgltop7.py of https://github.com/xcadet/deepunlearn.

Draw the head afresh. In each round, one epoch on retain: choose `tensors` weight matrices or kernels at random; to a
`noise_share` of them, those chosen for the first time, add noise * N(0, 1); train them, the norms and the biases on CE,
and hold the rest fixed. The first round after a new head adds no noise. Then `epochs` of fine-tuning of all weights on
retain. Without rounds and a new head this is finetune.

Their code tells norms apart by name, and takes some of a ResNet's for kernels; ours goes by shape, so that norms and
biases always learn and never get noise. Each round has an optimiser of its own, as theirs. Their fine-tuning lists a
learning rate for each epoch; ours is `optimizer`.

Batch norm: `train`, as theirs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import MOST, Count, Positive, Several, Weight
from unlearnbench.techniques.layers import add_noise
from unlearnbench.techniques.reset import reset
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Rni:
    """Train noisy parts of the model in `rounds` epochs, then all of it in `epochs`; the noise is a deviation."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    reset_head: bool
    rounds: Annotated[int, Field(ge=0, le=MOST)]
    tensors: Count
    noise_share: Annotated[float, Field(ge=0, le=1)]
    noise: Weight
    round_lr: Positive
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: the weights to disturb are frozen beneath it."""
        if adapter_of(problem.spec) is None:
            return None
        return "rni needs all weights; try method=finetune, or model.adapter.r=0"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its noisy rounds and its epochs of fine-tuning."""

        def loss(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        if self.reset_head:
            reset(model, problem.random(), [problem.parts.head])
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        round_of = problem.batches(problem.retain, size=self.batch_size)
        settings = dataclasses.replace(self.optimizer, lr=self.round_lr, head_lr=None, schedule="none")
        seen: set[nn.Parameter] = set()
        for number in range(self.rounds):
            with seeded(problem.seed, "round", number):
                chosen = self._disturbed(learning, seen, quiet=self.reset_head and number == 0)
            seen.update(chosen)
            for parameter in learning:
                parameter.requires_grad_(parameter.ndim < 2 or parameter in chosen)
            problem.optimize(model, loss, round_of, settings, batch_norm=self.batch_norm)
        for parameter in learning:
            parameter.requires_grad_(True)
        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)

    def _disturbed(self, learning: list[nn.Parameter], seen: set[nn.Parameter], *, quiet: bool) -> set[nn.Parameter]:
        """Choose the weights of a round, and add noise to a share of those that no round had before."""
        weights = [parameter for parameter in learning if parameter.ndim >= 2]
        chosen = [weights[place] for place in torch.randperm(len(weights))[: self.tensors]]
        noisy = chosen[: int(self.noise_share * len(chosen))]
        if not quiet:
            add_noise([parameter for parameter in noisy if parameter not in seen], self.noise)
        return set(chosen)
