"""Unlearning of a shadow ensemble: the method applied to several models as one stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from unlearnbench.errors import Diverged
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import Quiet, bar
from unlearnbench.problem import Method
from unlearnbench.stages.shadows import Said, Shadow, Shadows, asked, nothing_said, stacked
from unlearnbench.stages.trained import taken
from unlearnbench.stages.unlearn import Unlearn


@dataclass(frozen=True, eq=False)
class Forgotten(Stage):
    """A method applied to some models of an ensemble: what each says of every target then. Weights are not kept."""

    shadows: Shadows
    method: Method
    kind: ClassVar[str] = "forgotten"

    @property
    def label(self) -> str:
        """Which models."""
        return f"unlearning {self.shadows.label}"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """The trainings."""
        return (self.shadows,)

    @property
    def settings(self) -> tuple[object, ...]:
        """What decides each unlearning, and the targets that are scored."""
        bench = self.shadows.ensemble.world.bench
        unlearnings = tuple(unlearning.settings for unlearning in self._unlearnings())
        return (unlearnings, bench.print(self.shadows.ensemble.targets), bench.batch, bench.task.limit)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the method's, the task's and the model's."""
        return (__name__, type(self.method).__module__, *self.shadows.ensemble.world.bench.modules)

    @property
    def like(self) -> str:
        """One method on as many models takes about as long."""
        return digest(self.kind, self.shadows.like, type(self.method).__module__, self.method)[:16]

    def compute(self, workshop: Workshop) -> Artefact:
        """Unlearn one model after the other; keep the scores: none of a model that diverges."""
        said: list[Said] = []
        ensemble, examples = self.shadows.ensemble, 0
        with bar(self.label) as progress:
            for unlearning in self._unlearnings():
                try:
                    made = unlearning.made(workshop, Quiet())
                    said.append(asked(ensemble, ensemble.targets, taken(made)[1], unlearning.original.role))
                    examples += made.record.examples
                except Diverged:
                    said.append(nothing_said(ensemble))
                workshop.drop(unlearning.original)
                progress.update(len(said), len(self.shadows.numbers))
        return Computed(stacked(said), {"examples": examples})

    def _unlearnings(self) -> Iterator[Unlearn]:
        ensemble = self.shadows.ensemble
        for number in self.shadows.numbers:
            model: Model = Shadow(self.shadows, number)
            yield Unlearn(model, ensemble.member(number), self.method, ensemble.recipe)
