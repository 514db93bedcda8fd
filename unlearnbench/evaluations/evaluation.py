"""What an evaluation is: the stages it adds for a run's models, and the rows it measures from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.evidence import BySplit, Scores
from unlearnbench.graph.artefact import Artefact
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.metrics.measure import Row as Row
from unlearnbench.stages.score import Score
from unlearnbench.stages.world import World


class Column(NamedTuple):
    """A column of a leaderboard: a metric of the unlearned model on a split."""

    metric: str
    split: str


@dataclass(frozen=True, eq=False)
class Models:
    """The models of one request: before, after, and as they would be had the data never been there.

    `retrained` is empty for the requests in the middle of a stream, and in a run without references, which is then
    `unreferenced`.
    """

    original: Model
    retrained: tuple[Model, ...]
    unlearned: Model
    unreferenced: bool = False

    def roles(self) -> Iterator[tuple[str, Model]]:
        """Yield each model with its role; several retrained ones carry their number."""
        yield "original", self.original
        for number, model in enumerate(self.retrained):
            yield f"retrained_{number}" if len(self.retrained) > 1 else "retrained", model
        yield "unlearned", self.unlearned


class Evaluation(Protocol):
    """A frozen dataclass of settings. Its file and its YAML in configs/eval carry its name.

    It may also have `details(found)`, which returns what result.json says of the last request beside its rows, times
    for example, and `draw(found, folder)`, which writes figures into plots/ of the run's folder.
    """

    headline: ClassVar[tuple[Column, ...]]
    """What a leaderboard shows of it. Without references (`reference.count=0`) it shows `headline_unreferenced`, if the
    evaluation has that too.
    """

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the stages it needs beside the scores of the three roles, by names of its own; may be none."""

    def measure(self, found: Found) -> Iterable[Row]:
        """Return its rows: role, split, metric, value. Roles are open: name your own."""


def headline_of(evaluation: Evaluation, references: int) -> tuple[Column, ...]:
    """Return what a leaderboard shows of an evaluation, with or without retrained models."""
    own: tuple[Column, ...] = evaluation.headline
    without: tuple[Column, ...] = getattr(evaluation, "headline_unreferenced", own)
    return own if references else without


@dataclass(frozen=True, eq=False)
class Found:
    """What an evaluation may look at once its stages are done."""

    models: Models
    world: World
    scores: Mapping[str, BySplit]
    scorings: Mapping[str, Mapping[str, Score]]
    stages: Mapping[str, Stage]
    workshop: Workshop
    whole_class: bool

    @property
    def retrained(self) -> tuple[BySplit, ...]:
        """The scores of the retrained models."""
        return tuple(self.scores[role] for role, _ in self.models.roles() if role.startswith("retrained"))

    def read(self, name: str) -> Scores:
        """Return the scores that a stage of this evaluation computed."""
        stage = self.stages[name]
        assert isinstance(stage, Score), f"{name} is no scoring"
        return stage.read(self.workshop)

    def artefact(self, name: str) -> Artefact:
        """Return what another stage of this evaluation left."""
        return self.workshop.artefact(self.stages[name])


def score_all(model: Model, world: World) -> dict[str, Score]:
    """Return the scorings of a model on each split that takes a forward pass, further evaluation sets included."""
    bench = world.bench
    own = {split: Score(bench, model, split, index) for split, index in world.scored()}
    return own | {name: Score(one, model, name, one.data.test) for name, one in bench.extra.items()}


def divided(scores: Mapping[str, Scores], parts: Mapping[str, Index]) -> BySplit:
    """Add the parts of the test set, cut from its scores: test_retain and test_forget, where they have rows."""
    test = scores["test"]
    cut = {name: test.rows(np.isin(test.index, part)) for name, part in parts.items()}
    return {**scores, **{name: rows for name, rows in cut.items() if len(rows)}}
