"""RMU: steer a layer's representation of what goes towards a random direction, and hold that of what stays.

Li et al.: The WMDP Benchmark: Measuring and Reducing Malicious Use With Unlearning, ICML 2024, section 4,
arXiv:2403.03218:

    |h(forget) - steering * u / |u||^2 + retain_weight * |h(retain) - h_original(retain)|^2,   u ~ U[0, 1)^d

h is what one layer puts out, and u is drawn once. As in the authors' code the squares are averaged over h's d values,
where the paper adds them up: both terms are then d times smaller, which Adam does not mind. The authors use plain text
and all its tokens; here h is taken where an answer's tokens are predicted, since only answers are to be forgotten. On
images h is the whole output of a block. The authors train one matrix in three layers; here, as in open-unlearning, all
weights up to the layer learn. They draw a direction for each of two topics; here all forget rows share one. Their
`steering` and `retain_weight` depend on the model's activations, so that they have to be chosen for each model.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone.
In either mode the original is in the model's, without dropout, so that the retain term begins at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.hooks import submodule
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import Count, Positive, Weight
from unlearnbench.techniques.remembered import remembered
from unlearnbench.training.losses import Losses
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Rmu:
    """Minimise the distance of forget representations to a random one + retain_weight * retain's to the original's.

    `depth` chooses the block whose output is steered, from 0, the first, to 1, the last.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "representation"
    year: ClassVar[int] = 2024
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    depth: Annotated[float, Field(ge=0, le=1)]
    steering: Positive
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""
        layer = at_depth(problem, self.depth)
        with torch.no_grad():
            first = next(problem.plain(problem.forget[:1], 1))
            width = problem.represent(problem.reference, first, layer).logits.shape[1]
        target = self.steering * direction(problem.seed, width).to(first.inputs.device)
        original = remembered(
            problem, self.epochs, lambda retain: problem.represent(problem.reference, retain, layer).logits
        )

        def loss(forget: Batch, retain: Batch) -> Losses:
            moved = problem.represent(model, forget, layer)
            kept = problem.represent(model, retain, layer)
            steered = moved.averaged((moved.logits - target).square().mean(dim=1))
            return steered, self.retain_weight * kept.averaged((kept.logits - original(retain)).square().mean(dim=1))

        batches = problem.batches(problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )


def direction(seed: int, width: int) -> Tensor:
    """Draw the unit vector (width,) float32 that a seed steers towards."""
    with seeded(seed, "direction"):
        drawn = torch.rand(width)
    return nn.functional.normalize(drawn, dim=0)


def at_depth(problem: Problem, depth: float) -> str:
    """Name the block at a depth from 0 to 1; of a list of layers each is a block, and an embedding is none."""
    blocks = []
    for name in problem.parts.blocks:
        found = submodule(problem.reference, name)
        if isinstance(found, nn.ModuleList):
            blocks += [f"{name}.{number}" for number in range(len(found))]
        elif not isinstance(found, nn.Embedding):
            blocks.append(name)
    return blocks[round(depth * (len(blocks) - 1))]
