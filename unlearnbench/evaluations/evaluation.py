"""What an evaluation is: the stages it adds for a run's models, and the rows it measures from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.errors import UserError, counted
from unlearnbench.evidence import BySplit, Scores
from unlearnbench.graph.artefact import Artefact
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.metrics.measure import Column as Column
from unlearnbench.metrics.measure import Row as Row
from unlearnbench.stages.score import Score
from unlearnbench.stages.world import World
from unlearnbench.training.recipe import Recipe

if TYPE_CHECKING:
    from unlearnbench.stages.unlearn import Unlearn


@dataclass(frozen=True, eq=False)
class Models:
    """The models of one request: before, after, and as they would be had the data never been there.

    `retrained` is empty for the requests in the middle of a stream, and in a run without references, which is then
    `unreferenced`.
    """

    original: Model
    retrained: tuple[Model, ...]
    unlearned: Unlearn
    unreferenced: bool = False

    def roles(self) -> Iterator[tuple[str, Model]]:
        """Yield each model with its role; several retrained ones carry their number."""
        yield "original", self.original
        for number, model in enumerate(self.retrained):
            yield f"retrained_{number}" if len(self.retrained) > 1 else "retrained", model
        yield "unlearned", self.unlearned

    @property
    def recipe(self) -> Recipe:
        """How the original and the retrained models are trained."""
        return self.unlearned.recipe


class Evaluation(Protocol):
    """A frozen dataclass of settings. Its file and its YAML in configs/eval carry its name.

    Some have more: `kinds`, the kinds of data that it can be asked of, if not all; `references`, how many retrained
    models it needs at least; `beside(evaluations)`, what takes its place in a run that has these evaluations;
    `details(found)`, what result.json says of the last request beside its rows, times for
    example; `draw(found, folder)`, which writes figures into a folder.
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


def check_held_out(name: str, world: World) -> None:
    """Raise UserError where fewer than two of the scored test rows are of the forget rows' kind."""
    splits, labels = dict(world.scored()), world.bench.data.labels
    test, part = splits["test"], world.parts().get("test_forget")
    like = np.isin(labels[test], labels[splits["forget"]])
    count = int((like if part is None else like | np.isin(test, part)).sum())
    if count < 2:
        raise UserError(
            f"eval={name} tells forget rows from held-out rows of the same classes, and needs two of those; "
            f"the test rows have {counted(count, 'such row')}.\nTry: a larger dataset.limit_test, or eval=[standard]"
        )


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


def by_role(metric: str, split: str, values: Mapping[str, float]) -> Iterator[Row]:
    """Yield a number of each role, with gap_ and floor_ where there are retrained models: the one pattern of names.

    `values` are by role. Of several retrained models the row is their mean. gap_ is unlearned less that: 0 is perfect,
    and the mean of a model that differs from them by its seed alone. floor_ is how far two of them are apart.
    """
    retrained = [value for role, value in values.items() if role.startswith("retrained")]
    yield from (Row(role, split, metric, values[role]) for role in ("original", "unlearned") if role in values)
    if retrained:
        yield Row("retrained", split, metric, fmean(retrained))
        if "unlearned" in values:
            yield Row("unlearned", split, f"gap_{metric}", values["unlearned"] - fmean(retrained))
    if len(retrained) > 1:
        apart = (abs(one - other) for one, other in combinations(retrained, 2))
        yield Row("retrained", split, f"floor_{metric}", fmean(apart))
