"""Confuse, fine-tune, weaken: add noise to the convolutions, fine-tune on retain, and add a little more near the end.

The method of team Seif, third in the NeurIPS 2023 unlearning challenge; Triantafillou et al., Are We Making Progress in
Unlearning?, 2024, arXiv:2406.09073; named CFW by Cadet et al., Deep Unlearn, EuroS&P 2025, arXiv:2410.01276. We read
their code in the latter's port, kgltop3.py of https://github.com/xcadet/deepunlearn.

theta <- theta + noise * N(0, 1) in the convolutions; then minimise w_y * CE on retain, w_y = count_y^-balance scaled to
a mean of 1; before the last epoch theta <- theta + last_noise * N(0, 1). Without noise and balance this is finetune.

Their code weighs classes, but multiplies each batch's mean loss by its mean weight; ours weighs each row. The balanced
weights are the port's; the winners gave the first of their ten classes 1 and the others .05. Their code also finds only
the convolutions that are direct children of the model, which in a ResNet is the stem alone: that is `layers: first`,
with which their noise of 0.6 was chosen. Their learning rate falls along a cosine from epoch to epoch, ours from step
to step.

Batch norm: `train`, as theirs: its running statistics follow the noisy convolutions' outputs on retain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import Count, Several, Weight
from unlearnbench.techniques.balance import label_weights, weighted_cross_entropy
from unlearnbench.techniques.layers import add_noise, convolutions
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Cfw:
    """Add Gaussian noise to the convolutions, fine-tune on retain, and add `last_noise` before the last of epochs.

    The noise is a standard deviation in the unit of the weights. `layers` says which convolutions it reaches; `balance`
    0 weighs all retain rows alike, 1 all classes.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    noise: Weight
    last_noise: Weight
    layers: Literal["all", "first"]
    balance: Annotated[float, Field(ge=0, le=1)]
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where the model has no convolutions."""
        if convolutions(problem.reference):
            return None
        return "cfw needs a model with convolutions; try method=rni, which adds noise to any weights, or model=resnet18"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with noise added, after its epochs on the retain set."""
        weights = label_weights(problem.plain(problem.retain, self.batch_size), self.balance)

        def loss(retain: Batch) -> Tensor:
            return weighted_cross_entropy(problem.predict(model, retain), weights)

        layers = list(convolutions(model).values())
        noisy = [layer.weight for layer in (layers if self.layers == "all" else layers[:1])]
        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for epoch in range(self.epochs):
            if epoch in (0, self.epochs - 1):
                with seeded(problem.seed, "noise", epoch):
                    add_noise(noisy, self.last_noise if epoch else self.noise)
            stepper.descend(loss, batches)
        return model
