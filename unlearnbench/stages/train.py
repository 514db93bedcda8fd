"""Training: a model from its start on some rows, by the recipe; or the user's own checkpoint in its place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from unlearnbench.contracts import Index
from unlearnbench.errors import UserError
from unlearnbench.graph.artefact import Artefact
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine import provenance
from unlearnbench.machine.bars import Progress
from unlearnbench.models.start import (
    is_pretrained,
    original_content,
    original_of,
    reads_folder,
    started,
    trainable,
)
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.stages.resume import Resumable
from unlearnbench.stages.trained import Made, built, kept
from unlearnbench.training.fit import fit
from unlearnbench.training.recipe import Recipe
from unlearnbench.training.record import Record

if TYPE_CHECKING:
    from unlearnbench.stages.bench import Bench


@dataclass(frozen=True, eq=False)
class Train(Stage):
    """A model trained on the rows at `index` by the recipe; its seed is the hash of `names`.

    `validation` are the rows that may steer the training.
    """

    bench: Bench
    role: str
    index: Index
    validation: Index
    recipe: Recipe
    names: tuple[str | int, ...]
    kind: ClassVar[str] = "train"

    @property
    def label(self) -> str:
        """The role."""
        return self.role

    @property
    def settings(self) -> tuple[object, ...]:
        """Seed, model, task, recipe, and the rows."""
        bench = self.bench
        rows = (bench.print(self.index), bench.print(self.validation))
        return (stage_seed(*self.names), bench.setting, self.recipe, rows)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the task's and the model's."""
        return (__name__, *self.bench.modules)

    @property
    def like(self) -> str:
        """Trainings of one model by one recipe on about as many rows take about as long."""
        return digest(self.kind, self.bench.setting, self.recipe, round(math.log2(len(self.index))))[:16]

    def compute(self, workshop: Workshop) -> Artefact:
        """Train it; an interrupted training is resumed."""
        here = provenance.circumstances(self.bench.precision)
        state = Resumable(workshop.unfinished(self), circumstances=here)
        return kept(self, self.bench, workshop, lambda progress: self.made(progress, state))

    def made(self, progress: Progress, state: Resumable | None = None) -> Made:
        """Train it, from `state` on if there is one."""
        bench, seed, record = self.bench, stage_seed(*self.names), Record()
        resume, save = (None, None) if state is None else (state.resume, state.save)
        with seeded(seed):
            model = bench.task.prepare(started(bench.spec, bench.info))
            model = trainable(bench.spec, model)
            fit(
                model, bench.task, self.index, self.validation, self.recipe,
                seed=seed, record=record, progress=progress, resume=resume, save=save,
            )  # fmt: skip
        return Made(model, record, on_parent=is_pretrained(bench.spec))  # random weights must be kept too

    def build(self, workshop: Workshop) -> nn.Module:
        """Build the model from its artefact."""
        return built(workshop.artefact(self), self.bench)


def repeatable(original: Model, asked: str, instead: str) -> Train:
    """Return the original as a training that can be repeated; raise UserError for one that cannot."""
    if isinstance(original, Train):
        return original
    raise UserError(
        f"{asked} repeats the original's training, and model.checkpoint brings no training.\nTry: {instead}"
    )


@dataclass(frozen=True, eq=False)
class Checkpoint(Stage):
    """The user's own trained weights as the original."""

    bench: Bench
    role: str = "original"
    kind: ClassVar[str] = "checkpoint"

    @property
    def label(self) -> str:
        """The role."""
        return self.role

    @property
    def settings(self) -> tuple[object, ...]:
        """Model, task, the content of the file or folder, and the number of classes."""
        bench = self.bench
        return (bench.setting, original_content(bench.spec), len(bench.info.classes))

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the task's and the model's."""
        return (__name__, *self.bench.modules)

    def compute(self, workshop: Workshop) -> Artefact:
        """Read the weights; a language model's stay in their folder, and only a file's are kept."""

        def make(_progress: Progress) -> Made:
            return Made(self._read(), Record(), outside=reads_folder(self.bench.spec))

        return kept(self, self.bench, workshop, make)

    def build(self, workshop: Workshop) -> nn.Module:
        """Build the model from its artefact, or from the folder that its key is about."""
        if reads_folder(self.bench.spec):
            return self._read().eval()
        return built(workshop.artefact(self), self.bench)

    def _read(self) -> nn.Module:
        bench = self.bench
        return bench.task.prepare(original_of(bench.spec, bench.info))
