"""Scoring: a model's outputs on some rows, one forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.errors import Diverged
from unlearnbench.evidence import Scores
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Model, Stage, needed_by
from unlearnbench.graph.workshop import Workshop

if TYPE_CHECKING:
    from unlearnbench.stages.bench import Bench


@dataclass(frozen=True, eq=False)
class Score(Stage):
    """The outputs of a model on the rows at `index`, which results call `split`."""

    bench: Bench
    model: Model
    split: str
    index: Index
    kind: ClassVar[str] = "score"

    @property
    def label(self) -> str:
        """The role and the split."""
        return f"scores of {self.model.role} on {self.split}"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """What the model needs."""
        return needed_by(self.model)

    @property
    def models(self) -> tuple[Model, ...]:
        """The model."""
        return (self.model,)

    @property
    def settings(self) -> tuple[object, ...]:
        """Model, task, the rows and how many at once; behind a prompt also the limit that may cut them."""
        bench = self.bench
        limit = bench.task.limit if getattr(self.model, "prompts", False) else None
        return (self.model.key, bench.print(self.index), bench.setting, bench.scoring, limit)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the task's and the model's."""
        return (__name__, *self.bench.modules)

    @property
    def like(self) -> str:
        """Scorings of about as many rows by one model take about as long."""
        return digest(self.kind, self.bench.setting, round(math.log2(len(self.index) + 1)))[:16]

    def compute(self, workshop: Workshop) -> Artefact:
        """Score the rows; raise Diverged where the outputs are not numbers."""
        scores = self.bench.task.score(workshop.model(self.model), self.index)
        if np.isnan(scores.logits).any() or np.isposinf(scores.logits).any():
            raise Diverged(0, self.model.role)
        return Computed(scores.tensors(), {"split": self.split})

    def read(self, workshop: Workshop) -> Scores:
        """Return the scores once they are computed."""
        return Scores.from_tensors(workshop.artefact(self).tensors)
