"""Forget the training rows of one level of difficulty: low, medium or high by a score of each row.

Zhao, Kurmanji, Barbulescu, Triantafillou, Triantafillou: What makes unlearning hard and what to do about it, NeurIPS
2024, arXiv:2406.01257. Rows that a model can only get right by remembering them are harder to forget than rows that it
would get right anyhow. The scores, each higher for harder:

  memorisation      mean p_y of models that saw the row, less that of models that did not (memorisation.py)
  learning_events   epochs after which the row is wrong, one training; ties by the mean of 1 - p_y over the epochs
  loss              cross-entropy of the row in the original
  entanglement      minus the distance of the row's features from the centroid of all training rows

Where we differ from the authors' code: rows are compared with those of their own label (`balanced`), since otherwise a
level is mostly a few classes and the shift of labels is measured too; ties are broken by a seed; `medium` is the middle
of the ranks, not the scores nearest to 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.evidence import Scores
from unlearnbench.forget.ranked import Fraction, Level, Rows, check_size, first_rows, ranked, rehearsed, size_of
from unlearnbench.forget.splits import Splits, drawn_how
from unlearnbench.graph.artefact import Artefact
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.ranges import Seed
from unlearnbench.selection.distances import Distances
from unlearnbench.selection.events import LearningEvents
from unlearnbench.selection.memorisation import inside_of, memorised, scorings
from unlearnbench.stages.score import Score
from unlearnbench.stages.train import repeatable
from unlearnbench.stages.world import World

Models = Annotated[int, Field(ge=4, le=10**4)]
"""Models of which each row is left out by three in ten, at least by one."""


@dataclass(frozen=True, kw_only=True)
class Hard:
    """The training rows of a level of difficulty, given as a fraction or a number of examples.

    `models` is how many are trained for the memorisation scores; the other scores ignore it.
    `seed` is that of the models that score the rows, whatever the run's: a whole sweep forgets the same rows.
    `whole_pairs` forgets counterfactual twins together, by the mean of their scores.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    score: Literal["memorisation", "learning_events", "loss", "entanglement"]
    level: Level
    fraction: Fraction | None
    count: Rows | None
    models: Models
    balanced: bool
    seed: Seed
    whole_pairs: bool = False
    already: tuple[Path, ...] = ()

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return hard:<score>:<level>:<fraction or count>."""
        size = check_size("hard", self.fraction, self.count, info)
        kind = "" if self.balanced else ":unbalanced"
        score = f"memorisation_{self.models}" if self.score == "memorisation" else self.score
        return f"hard:{score}:{self.level}:{size}{kind}" + drawn_how(self.whole_pairs, self.seed)

    def split(self, data: Data) -> Splits:
        """Rehearse with as many rows, drawn at random."""
        size = size_of(self.fraction, self.count, len(data.train))
        return rehearsed(data, size, self.score, self.level, self.seed, whole_pairs=self.whole_pairs)

    def stages(self, original: Model, world: World) -> Mapping[str, Stage]:
        """Return the stages that score the training rows."""
        if self.score == "loss":
            return {"loss": Score(world.bench, original, "train", world.all)}
        if self.score == "entanglement":
            return {"entanglement": Distances(world.bench, original, world.all)}
        repeated = repeatable(original, f"forget.score={self.score}", "forget.score=loss")
        if self.score == "memorisation":
            return scorings(repeated, world, self.models)
        return {"learning_events": LearningEvents(repeated)}

    def choose(self, world: World, found: Mapping[str, Artefact]) -> Index:
        """Return the positions of the level's rows, sorted."""
        data, rows = world.bench.data, world.all
        score = self._scored(world, found)
        if self.whole_pairs:
            score = mean_of_units(score, data.unit[rows])
        order = rows[ranked(score, data.labels[rows] if self.balanced else None, self.level, self.seed)]
        size = size_of(self.fraction, self.count, len(rows))
        return first_rows(order, data, size, whole_pairs=self.whole_pairs)

    def _scored(self, world: World, found: Mapping[str, Artefact]) -> NDArray[np.float64]:
        """Return the score of each training row, (n,) float64; higher is harder."""
        if self.score == "memorisation":
            said = [np.exp(-Scores.from_tensors(one.tensors).loss.astype(np.float64)) for one in found.values()]
            return memorised(np.stack(said), inside_of(world, self.models))
        tensors = found[self.score].tensors
        if self.score == "loss":
            return Scores.from_tensors(tensors).loss.astype(np.float64)
        if self.score == "entanglement":
            return -np.asarray(tensors["distance"].numpy())
        return lateness(tensors["right"].numpy(), tensors["confidence"].numpy())


def lateness(right: NDArray[np.float64], confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how late each row is learned, (n,): epochs (e, n) in which it is wrong, and less for the surer ones."""
    late: NDArray[np.float64] = (1 - right).sum(axis=0) - confidence.mean(axis=0)
    return late


def mean_of_units(score: NDArray[np.float64], unit: Index) -> NDArray[np.float64]:
    """Give each row the mean score of the rows of its unit, (n,)."""
    _, number = np.unique(unit, return_inverse=True)
    mean: NDArray[np.float64] = (np.bincount(number, score) / np.bincount(number))[number]
    return mean
