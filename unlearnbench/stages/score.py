"""Scoring: a model's outputs on some rows, one forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.errors import Diverged
from unlearnbench.evidence import Scores
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.keys import digest
from unlearnbench.graph.workshop import Workshop
from unlearnbench.stages.of_model import OfModel


@dataclass(frozen=True, eq=False)
class Score(OfModel):
    """The outputs of a model on the rows at `index`, which results call `split`."""

    split: str
    index: Index
    kind: ClassVar[str] = "score"

    @property
    def label(self) -> str:
        """The role and the split."""
        return f"scores of {self.model.role} on {self.split}"

    @property
    def settings(self) -> tuple[object, ...]:
        """Model, task, the rows and how many at once; behind a prompt also the limit that may cut them."""
        bench = self.bench
        return (self.model.key, bench.print(self.index), bench.setting, bench.scoring, self.limit)

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
