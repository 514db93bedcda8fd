"""Masked small gradients: draw the convolution weights afresh on which forget and retain agree, then fine-tune.

The method of team Kookmin, second in the NeurIPS 2023 unlearning challenge; Triantafillou et al., Are We Making
Progress in Unlearning?, 2024, arXiv:2406.09073; named MSG by Cadet et al., Deep Unlearn, EuroS&P 2025,
arXiv:2410.01276. We read their code in the latter's port, kgltop2.py of https://github.com/xcadet/deepunlearn.

g = gradient of (CE on as many retain rows as forget has - CE on forget), at the original. In each convolution the
`share` of weights with the smallest |g| are drawn afresh (He initialisation, fan out). Then train on retain: the others
keep their values at first, and their gradients are multiplied by `damping`, so that the new weights learn faster.

Their sums of batch gradients are our means over examples, which order the weights alike. Weight decay reaches all
weights fully, as theirs. Their learning rate rises and falls from epoch to epoch, ours from step to step.

Batch norm: `train`, as their fine-tuning. The gradients are taken in evaluation mode; their code leaves the mode as it
finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import Count, Several
from unlearnbench.techniques.gradients import mean_gradient
from unlearnbench.techniques.layers import convolutions
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Msg:
    """Draw the `share` of convolution weights with the smallest gradients afresh, and fine-tune on retain.

    `damping` multiplies the gradients of the other convolution weights.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    share: Annotated[float, Field(gt=0, le=1)]
    damping: Annotated[float, Field(ge=0, le=1)]
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where the model has no convolutions."""
        if convolutions(problem.reference):
            return None
        return "msg needs a model with convolutions; try method=prmq, or model=resnet18"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with new weights, after its epochs on the retain set."""

        def loss(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        retain = problem.sample(problem.retain, min(len(problem.forget) / len(problem.retain), 1.0))
        slopes = [mean_gradient(model, loss, problem.plain(some, self.batch_size)) for some in (retain, problem.forget)]
        problem.record.examples += len(retain) + len(problem.forget)
        differences = {name: slope - slopes[1][name] for name, slope in slopes[0].items()}
        with seeded(problem.seed, "redraw"):
            fresh = redraw(model, differences, self.share)
        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        with damped(fresh, self.damping):
            return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)


def redraw(model: nn.Module, slopes: Mapping[str, Tensor], share: float) -> list[tuple[Tensor, Tensor]]:
    """Draw the `share` of each convolution's weights with the smallest slopes afresh; return weights and masks."""
    found = []
    with torch.no_grad():
        for name, layer in convolutions(model).items():
            sizes = slopes[f"{name}.weight"].abs().flatten()
            mask = torch.zeros_like(sizes, dtype=torch.bool)
            mask[sizes.topk(round(share * len(sizes)), largest=False).indices] = True
            fresh = mask.view(layer.weight.shape)
            drawn = nn.init.kaiming_normal_(torch.empty_like(layer.weight), mode="fan_out", nonlinearity="relu")
            layer.weight.copy_(torch.where(fresh, drawn, layer.weight))
            found.append((layer.weight, fresh))
    return found


@contextmanager
def damped(fresh: Iterable[tuple[Tensor, Tensor]], damping: float) -> Iterator[None]:
    """Multiply the gradients of each weight outside its mask by `damping` inside the block."""
    hooks: list[Any] = []
    for weight, mask in fresh:
        pace = torch.where(mask, 1.0, damping).to(weight.dtype)
        hooks.append(weight.register_hook(partial(torch.mul, pace)))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
