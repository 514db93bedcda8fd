"""The models of a shadow ensemble: several trainings as one stage, and what each model says of the targets.

Held-out rows are scored too. No model has seen them, so they are what RMIA compares the targets with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from unlearnbench.contracts import Index
from unlearnbench.errors import Diverged
from unlearnbench.evidence import Floats
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import Progress, Quiet, bar
from unlearnbench.metrics.confidence import confidence
from unlearnbench.stages.trained import built, taken

if TYPE_CHECKING:
    from unlearnbench.stages.ensemble import Ensemble

TRAINING = "unlearnbench.stages.train"
"""The module that trains each model."""
CONFIDENCE, RIGHT, HELD_OUT = "confidence", "right", "held_out"
"""What is kept beside weights, whose names begin with a model's number."""


@dataclass(frozen=True, eq=False)
class Shadows(Stage):
    """Some models of an ensemble: their weights, and what each says before it is unlearned.

    That is of every target, and of the held-out rows.
    """

    ensemble: Ensemble
    numbers: Sequence[int]
    kind: ClassVar[str] = "shadows"

    @property
    def label(self) -> str:
        """Which models."""
        return f"shadows {self.numbers[0]} to {self.numbers[-1]}"

    @property
    def settings(self) -> tuple[object, ...]:
        """What decides each training, and the rows that are scored."""
        bench = self.ensemble.world.bench
        trainings = tuple(self.ensemble.training(number).settings for number in self.numbers)
        scored = (bench.print(self.ensemble.targets), bench.print(self.ensemble.held_out))
        return (trainings, *scored, bench.batch)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, that of a training, the task's and the model's."""
        return (__name__, TRAINING, *self.ensemble.world.bench.modules)

    @property
    def like(self) -> str:
        """As many trainings of one model by one recipe on about as many rows take about as long."""
        bench, rows = self.ensemble.world.bench, round(math.log2(len(self.ensemble.world.all)))
        return digest(self.kind, bench.setting, self.ensemble.recipe, rows, len(self.numbers))[:16]

    def compute(self, workshop: Workshop) -> Artefact:
        """Train one model after the other; keep weights and scores."""
        with bar(self.label) as progress:
            return self._trained(progress)

    def _trained(self, progress: Progress) -> Artefact:
        tensors: dict[str, Tensor] = {}
        facts: dict[str, object] = {}
        said: list[Said] = []
        held_out: list[Floats] = []
        examples = 0
        for number in self.numbers:
            training = self.ensemble.training(number)
            made = training.made(Quiet())
            own, model, adapter = taken(made)
            tensors |= {f"{number}.{name}": tensor.cpu() for name, tensor in own.items()}
            facts["adapter"], examples = adapter, examples + made.record.examples
            said.append(asked(self.ensemble, self.ensemble.targets, model, training.role))
            held_out.append(asked(self.ensemble, self.ensemble.held_out, model, training.role).confidence)
            progress.update(len(said), len(self.numbers))
        tensors |= {**stacked(said), HELD_OUT: torch.from_numpy(np.concatenate(held_out))}
        return Computed(tensors, {**facts, "examples": examples})


@dataclass(frozen=True, eq=False)
class Shadow:
    """One model of a stage of shadows, built from what that keeps."""

    shadows: Shadows
    number: int

    @property
    def role(self) -> str:
        """What it is called in logs."""
        return f"shadow_{self.number}"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """The stage that trains it."""
        return (self.shadows,)

    @cached_property
    def key(self) -> str:
        """What decides the weights."""
        return digest("shadow", self.shadows.key, self.number)

    def build(self, workshop: Workshop) -> nn.Module:
        """Return the model in evaluation mode on the device."""
        artefact, start = workshop.artefact(self.shadows), f"{self.number}."
        own = {name.removeprefix(start): tensor for name, tensor in artefact.starting(start).items()}
        return built(Computed(own, artefact.facts), self.shadows.ensemble.world.bench)


@dataclass(frozen=True, eq=False)
class Said:
    """What models say of some rows: confidences (models, rows) float64 and how right they are, in [0, 1]."""

    confidence: Floats
    right: Floats


def asked(ensemble: Ensemble, rows: Index, model: nn.Module, role: str) -> Said:
    """Score a model on some rows; raise Diverged where its outputs are not numbers."""
    scores = ensemble.world.bench.unwritten.task.score(model, rows)
    if np.isnan(scores.logits).any() or np.isposinf(scores.logits).any():
        raise Diverged(0, role)
    return Said(confidence(scores)[None], scores.right[1][None])


def nothing_said(ensemble: Ensemble) -> Said:
    """Return what stands for a model that diverged: no numbers."""
    return Said(*np.full((2, 1, len(ensemble.targets)), np.nan))


def stacked(said: Sequence[Said]) -> dict[str, Tensor]:
    """Return what some models say as tensors, under names that no weight has."""
    confidences, right = (np.concatenate([getattr(one, name) for one in said]) for name in (CONFIDENCE, RIGHT))
    return {CONFIDENCE: torch.from_numpy(confidences), RIGHT: torch.from_numpy(right)}


def heard(stages: Sequence[Stage], workshop: Workshop) -> Said:
    """Return what the models of all these stages say of the targets, in their order."""
    return Said(*(_joined(stages, workshop, name) for name in (CONFIDENCE, RIGHT)))


def of_held_out(stages: Sequence[Stage], workshop: Workshop) -> Floats:
    """Return the confidences of the models of all these stages in the held-out rows, (models, rows) float64."""
    return _joined(stages, workshop, HELD_OUT)


def _joined(stages: Sequence[Stage], workshop: Workshop, name: str) -> Floats:
    """Return a tensor of all these stages' models, (models, rows), without reading their weights."""
    return np.concatenate([workshop.artefact(stage).starting(name)[name].numpy() for stage in stages])
