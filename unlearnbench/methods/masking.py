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
from unlearnbench.models.hooks import replaced
from unlearnbench.optimizer import Count, Positive
from unlearnbench.problem import Index, Problem

STRENGTHS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
"""Shares of the units whose masking is tried for the strength curve, beside the mask that is used."""
TRIED = 1000
"""Examples of forget and of retain that the strength curve looks at."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a layer puts out: each unit's mean, (c, h, w) or (c, 1, 1); of some examples all, (k, ...)."""

    mean: Tensor
    outputs: Tensor
    labels: Tensor


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
        """Return the model with the mask on the layer's output; record what weaker and stronger masks would do."""
        layer = self.layer or problem.parts.mask_layer
        forget, retain = (self._seen(problem, layer, index) for index in (problem.forget, problem.retain))
        score = forget.mean - retain.mean if self.score == "difference" else forget.mean
        masked = score >= self.threshold if self.threshold is not None else strongest(score, self.share or 0.0)
        for share in STRENGTHS:
            self._record(problem, layer, strongest(score, share), forget, retain, chosen=False)
        self._record(problem, layer, masked, forget, retain, chosen=True)
        masks.attach(model, layer, (~masked).float())
        return model

    def _seen(self, problem: Problem, layer: str, index: Index) -> Seen:
        """Run the examples through the original once: the mean of each unit, and what some of them activate."""
        kept = problem.sample(index, min(TRIED / len(index), 1.0))
        total, outputs, labels = torch.zeros(()), [], []
        with torch.no_grad():
            for batch in problem.plain(index, self.batch_size):
                out = problem.hidden(problem.reference, batch, layer)
                chosen = torch.isin(batch.index, torch.from_numpy(kept).to(batch.index.device))
                total = total.to(out.device) + out.sum(dim=0)
                outputs.append(out[chosen])
                labels.append(batch.labels[chosen])
        problem.record.examples += len(index)
        mean = total / len(index)
        by_unit = mean.mean(dim=(1, 2), keepdim=True) if self.unit == "channel" and mean.ndim == 3 else mean
        return Seen(by_unit, torch.cat(outputs), torch.cat(labels))

    def _record(
        self, problem: Problem, layer: str, masked: Tensor, forget: Seen, retain: Seen, *, chosen: bool
    ) -> None:
        """Note what share of units a mask takes, and the accuracies it leaves, from the activations already seen."""
        example = next(problem.plain(problem.forget[:1], 1))
        row = {"share": float(masked.float().mean()), "chosen": float(chosen)}
        for name, seen in (("forget", forget), ("retain", retain)):
            with torch.no_grad(), replaced(problem.reference, layer, seen.outputs * ~masked):
                prediction = problem.predict(problem.reference, example).logits.argmax(dim=1)
            row[f"{name}_accuracy"] = float((prediction == seen.labels).float().mean())
        problem.record.strength.append(row)


def strongest(score: Tensor, share: float) -> Tensor:
    """Say which units have the highest scores, that share of them; none where it is 0, else at least one."""
    if share == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    return score >= score.flatten().topk(max(round(share * score.numel()), 1)).values[-1]
