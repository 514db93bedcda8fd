"""Quantise: does rounding the weights bring back what was unlearned?

Zhang et al.: Catastrophic Failure of LLM Unlearning via Quantization, ICLR 2025, arXiv:2410.16454. Weights are rounded
to the nearest value in groups of 64, as in their round-to-nearest baseline. All roles are rounded: the retrained model
is the control, since rounding costs every model something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evidence import Scores
from unlearnbench.graph.keys import digest
from unlearnbench.graph.sources import source_digest
from unlearnbench.graph.stage import Model, Stage, needed_by
from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.four_bit import copied
from unlearnbench.models.start import is_four_bit
from unlearnbench.stages.score import Score

if TYPE_CHECKING:
    from unlearnbench.stages.world import World

Bits = Annotated[int, Field(ge=2, le=16)]


@dataclass(frozen=True, kw_only=True)
class Quantise:
    """Score all roles again with their weights rounded to each of `bits`, in groups of `group` weights."""

    bits: tuple[Bits, ...]
    group: Annotated[int, Field(ge=1, le=2**20)]
    headline: ClassVar[tuple[Column, ...]] = (Column("quantise_recovery", "forget"),)
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (Column("quantise_gain", "forget"),)

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return one scoring per model, width and split; none for a model whose weights are in 4 bits already."""
        if is_four_bit(world.bench.spec):
            return {}
        return {
            f"{role}_{bits}bit_{split}": Score(world.bench, Rounded(model, bits, self.group), split, index)
            for role, model in models.roles()
            for bits in self.bits
            for split, index in world.scored()
        }

    def measure(self, found: Found) -> Iterable[Row]:
        """Return accuracy and loss of each rounded model, and what of the forgotten accuracy comes back.

        `quantise_recovery`, of the unlearned model on forget: how much more accuracy it gains by rounding than a
        retrained model does, the largest over `bits`. In [-1, 1]; 0 is perfect, above it forgotten answers come back.
        Without retrained models there is `quantise_gain` instead: how much accuracy it gains.
        """
        if not found.stages:
            return
        gains: dict[int, dict[str, float]] = {bits: {} for bits in self.bits}
        for role, _ in found.models.roles():
            for bits in self.bits:
                for split, _index in found.world.scored():
                    scores = found.read(f"{role}_{bits}bit_{split}")
                    yield Row(f"{role}_{bits}bit", split, "accuracy", accuracy(scores))
                    yield Row(f"{role}_{bits}bit", split, "loss", float(scores.loss.mean()))
                    if split == "forget":
                        gains[bits][role] = accuracy(scores) - accuracy(found.scores[role]["forget"])
        if found.models.retrained:
            yield Row("unlearned", "forget", "quantise_recovery", max(map(_beyond_retrained, gains.values())))
        elif found.models.unreferenced:
            yield Row("unlearned", "forget", "quantise_gain", max(gain["unlearned"] for gain in gains.values()))


def accuracy(scores: Scores) -> float:
    """Return the share of rows whose label is predicted."""
    return float((scores.prediction == scores.label).mean())


def _beyond_retrained(gains: Mapping[str, float]) -> float:
    retrained = [gain for role, gain in gains.items() if role.startswith("retrained")]
    return gains["unlearned"] - sum(retrained) / len(retrained)


@dataclass(frozen=True, eq=False)
class Rounded:
    """A model with its weights rounded, made when it is asked for."""

    model: Model
    bits: int
    group: int

    @property
    def role(self) -> str:
        """The model's, with the width."""
        return f"{self.model.role}_{self.bits}bit"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """What the model needs."""
        return needed_by(self.model)

    @property
    def prompts(self) -> bool:
        """Whether the model may have a prompt in front."""
        return bool(getattr(self.model, "prompts", False))

    @cached_property
    def key(self) -> str:
        """What decides the weights."""
        return digest("rounded", self.model.key, self.bits, self.group, source_digest((__name__,)))

    def build(self, workshop: Workshop) -> nn.Module:
        """Return a rounded copy of the model."""
        model = copied(workshop.model(self.model))
        with torch.no_grad():
            for weight in _weights(model):
                weight.copy_(rounded(weight, self.bits, self.group))
        return model


def _weights(model: nn.Module) -> Iterator[Tensor]:
    """Yield the matrices and filters of a model; biases and norms stay as they are."""
    return (parameter for parameter in model.parameters() if parameter.dim() >= 2)


def rounded(weight: Tensor, bits: int, group: int) -> Tensor:
    """Round a weight (n, ...) to the nearest of 2^bits - 1 even steps around 0, in groups along each of its n rows.

    A group's largest magnitude is the end of its scale.
    """
    rows = weight.detach().float().reshape(len(weight), -1)
    padded = nn.functional.pad(rows, (0, -rows.shape[1] % group)).view(len(rows), -1, group)
    step = padded.abs().amax(dim=2, keepdim=True) / (2 ** (bits - 1) - 1)
    there = torch.where(step > 0, (padded / step).round() * step, padded)
    return there.view(len(rows), -1)[:, : rows.shape[1]].reshape(weight.shape).to(weight.dtype)
