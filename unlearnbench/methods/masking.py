"""Neuron masking: silence the units of one layer that respond to the forget set.

Roy: Comparative Study of Machine Unlearning Techniques (2025), Table I: a unit of the last feature map is masked
where its mean activation over the forget set is at least .5. That mask also silences what other classes share, so
`score: difference` subtracts the mean over the retain set; the study's own is `score: forget threshold: 0.5`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.models import masks
from unlearnbench.optimizer import Count, Positive
from unlearnbench.problem import Index, Problem


@dataclass(frozen=True, kw_only=True)
class Masking:
    """Mask the units of a layer whose score is at or over `threshold`, or the top `share` of them.

    `unit` is a position of a channel's map or a whole channel; `score` is the mean activation over the forget set, or
    its difference from the mean over the retain set; `layer` null means the model's own choice.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    layer: str | None
    unit: Literal["position", "channel"]
    score: Literal["forget", "difference"]
    threshold: Positive | None
    share: Annotated[float, Field(gt=0, lt=1)] | None
    batch_size: Count

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.share is None):
            raise ValueError("give method.threshold or method.share, one of the two, and null for the other")

    def check(self, problem: Problem) -> str | None:
        """Say so when the model has no layer of that name."""
        name = self.layer or problem.parts.mask_layer
        if name not in dict(problem.reference.named_modules()):
            return f"method.layer={name} is no layer of this model; try method.layer=null"
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with the mask on the layer's output."""
        layer = self.layer or problem.parts.mask_layer
        score = self._mean(problem, layer, problem.forget)
        if self.score == "difference":
            score = score - self._mean(problem, layer, problem.retain)
        if self.threshold is not None:
            masked = score >= self.threshold
        else:
            assert self.share is not None
            count = max(round(self.share * score.numel()), 1)
            masked = score >= score.flatten().topk(count).values[-1]
        masks.attach(model, layer, (~masked).float())
        return model

    def _mean(self, problem: Problem, layer: str, index: Index) -> Tensor:
        """Mean activation of each unit over the examples, (c, h, w), or (c, 1, 1) by channel."""
        with torch.no_grad():
            batches = problem.plain(index, self.batch_size)
            total = sum(problem.hidden(problem.reference, batch, layer).sum(dim=0) for batch in batches)
        assert isinstance(total, Tensor)
        problem.record.examples += len(index)
        mean = total / len(index)
        return mean.mean(dim=(1, 2), keepdim=True) if self.unit == "channel" and mean.ndim == 3 else mean
