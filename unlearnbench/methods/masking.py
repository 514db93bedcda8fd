"""Neuron masking: silence the units of one layer that respond to the forget set.

Roy: Comparative Study of Machine Unlearning Techniques for Computer Vision and NLP Models (2025), Table I: a unit of
the last feature map is masked where its mean activation over the forget set is at least .5. That mask also silences
what other classes share, so `score: difference` subtracts the mean over the retain set; the study's own mask is `unit:
position score: forget threshold: 0.5`. With a_u(x) unit u's activation:

    s_u = mean over forget of a_u - mean over retain of a_u
    a_u <- 0 where s_u >= threshold, or where it is among the share of highest scores

Nothing is trained, and batch norm uses its running statistics throughout.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Index
from unlearnbench.errors import UserError, nearest
from unlearnbench.models import masks
from unlearnbench.models.hooks import output_of, replaced
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive

log = logging.getLogger("unlearnbench")

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
    """Mask the units of a layer whose score is at or over `threshold`, or the top `share` of them (at least one).

    `unit` is a position of a channel's map or a whole channel; `score` is the mean activation over the forget set, or
    its difference from the mean over the retain set; `layer` null means the model's own choice.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2025
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
        """Return a reason where the layer has no channels of maps; raise UserError where there is no such layer."""
        layer = self.layer or problem.parts.mask_layer
        names = [name for name, _ in problem.reference.named_modules() if name]
        if layer not in names:
            raise UserError(
                f"method.layer={layer} is no layer of this model.{nearest(layer, names)}\n"
                f"Try: method.layer=null, which is {problem.parts.mask_layer}"
            )
        images = torch.zeros(2, *problem.info.shape, device="meta")
        try:
            with torch.no_grad():
                shape = output_of(problem.reference.eval(), layer, lambda: problem.reference(images)).shape
        except TypeError as error:
            return str(error)
        except (RuntimeError, NotImplementedError):  # a network that cannot run without its weights shows when it does
            return None
        if len(shape) == 2 or (len(shape) == 4 and shape[2] == shape[3]):
            return None
        return f"layer {layer} of this model puts out {tuple(shape)}, not maps (n, channels, side, side)"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with the mask on the layer's output; record what weaker and stronger masks would do."""
        layer = self.layer or problem.parts.mask_layer
        forget, retain = (self._seen(problem, layer, index) for index in (problem.forget, problem.retain))
        score = forget.mean - retain.mean if self.score == "difference" else forget.mean
        masked = score >= self.threshold if self.threshold is not None else strongest(score, self.share or 0.0)
        if not masked.any():
            log.warning(
                "nothing is masked: no unit of %s comes to method.threshold=%g, the highest score is %.3g. "
                "Try: method.threshold=null method.share=0.2", layer, self.threshold, float(score.max()),
            )  # fmt: skip
        if replaces(problem, layer):
            for share in STRENGTHS:
                self._record(problem, layer, strongest(score, share), forget, retain, chosen=False)
            self._record(problem, layer, masked, forget, retain, chosen=True)
        else:
            log.info("no strength curve: what follows %s needs more than what it puts out", layer)
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
        problem.record.tables.setdefault("strength", []).append(row)


def strongest(score: Tensor, share: float) -> Tensor:
    """Say which units have the highest scores, exactly that share of them; none where it is 0, else at least one."""
    mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    if share:
        count = max(round(share * score.numel()), 1)
        mask[score.flatten().argsort(descending=True, stable=True)[:count]] = True
    return mask.view_as(score)


def replaces(problem: Problem, layer: str) -> bool:
    """Return whether the layer's output alone decides the model's: false inside a residual block."""
    model, index = problem.reference, problem.retain[:2]
    batch, other = (next(problem.plain(part, len(part))) for part in (index, problem.forget[:1]))
    with torch.no_grad():
        expected = problem.predict(model, batch).logits
        try:
            with replaced(model, layer, problem.hidden(model, batch, layer)):
                found = problem.predict(model, other).logits
        except RuntimeError:  # a sum of maps of one and of two examples that was to be in place
            return False
    close = (found - expected).abs().max() <= 0.02 * expected.abs().max()  # bf16 rounds by the batch's size
    return found.shape == expected.shape and bool(close)
