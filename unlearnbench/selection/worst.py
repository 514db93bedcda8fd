"""Forget the rows that are hardest, or easiest, to unlearn with a given method: a bi-level search.

Fan, Liu, Hero, Liu: Challenging Forgets: Unveiling the Worst-Case Forget Sets in Machine Unlearning, ECCV 2024,
arXiv:2403.07362. Each row i has a weight w_i in [0, 1], and the weights add up to the size m of the forget set.

  lower level   theta(w): the original, finetuned on all rows, the loss of row i times 1 - w_i
  upper level   w <- P(w - step (l_i(theta(w)) / mean l + 2 shrink w_i)), with + l_i for side=best

P is the projection on [0, 1]^n with sum m. After the last round the m rows with the highest weights are forgotten: for
`worst` those whose loss stays low although they are unlearned, so that unlearning does not show; for `best` those whose
loss rises most.

Where we differ from the authors' code: the lower level takes steps of the run's optimisers, not of the gradient's sign;
the weights start even, not as a random set; losses are taken over their mean, so that a step is as long for every
model; P is within each label (`balanced`), since worst-case sets are otherwise
mostly a few classes; rows with equal weights are told apart by what was projected.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Data, DataInfo, Index
from unlearnbench.errors import Diverged
from unlearnbench.forget.ranked import Fraction, Rows, check_size, first_rows, ranked, rehearsed, size_of
from unlearnbench.forget.splits import Splits, drawn_how
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Model, Stage, needed_by
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import Progress, bar
from unlearnbench.models.modes import BatchNorm, Mode
from unlearnbench.models.start import trainable
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.ranges import Count, Positive, Seed, Several, Weight
from unlearnbench.selection.hard import mean_of_units
from unlearnbench.training.batches import Batches
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.stepper import Stepper

if TYPE_CHECKING:
    from unlearnbench.stages.world import World

log = logging.getLogger("unlearnbench")

HALVINGS = 100
"""Steps of bisection: the interval is then as narrow as float64 can tell."""


@dataclass(frozen=True, kw_only=True)
class Lower:
    """The lower level: finetuning, as method=finetune does it, on rows with weights."""

    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer


@dataclass(frozen=True, kw_only=True)
class Worst:
    """The rows that `rounds` of the search choose, given as a fraction or a number of examples.

    `seed` is that of the original that is unlearned, whatever the run's: a whole sweep forgets the same rows.
    `whole_pairs` forgets counterfactual twins together, by the mean of their weights.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    side: Literal["worst", "best"]
    fraction: Fraction | None
    count: Rows | None
    rounds: Count
    step: Positive
    shrink: Weight
    lower: Lower
    balanced: bool
    seed: Seed
    whole_pairs: bool = False
    already: tuple[Path, ...] = ()

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return worst:<side>:<fraction or count>:<digest of the search>."""
        size = check_size("worst", self.fraction, self.count, info)
        search = digest(self.rounds, self.step, self.shrink, self.lower, self.balanced)[:4]
        return f"worst:{self.side}:{size}:{search}" + drawn_how(self.whole_pairs, self.seed)

    def split(self, data: Data) -> Splits:
        """Rehearse with as many rows, drawn at random."""
        size = size_of(self.fraction, self.count, len(data.train))
        return rehearsed(data, size, self.side, self.seed, whole_pairs=self.whole_pairs)

    def stages(self, original: Model, world: World) -> Mapping[str, Stage]:
        """Return the search."""
        return {"search": Search(original, world, self)}

    def choose(self, world: World, found: Mapping[str, Artefact]) -> Index:
        """Return the positions of the rows with the highest weights, sorted."""
        data, rows = world.bench.data, world.all
        score: NDArray[np.float64] = found["search"].tensors["preference"].numpy()
        if self.whole_pairs:
            score = mean_of_units(score, data.unit[rows])
        order = rows[ranked(score, data.labels[rows] if self.balanced else None, "high", self.seed)]
        size = size_of(self.fraction, self.count, len(rows))
        return first_rows(order, data, size, whole_pairs=self.whole_pairs)


@dataclass(frozen=True, eq=False)
class Search(Stage):
    """The rounds of the search over all training rows of a world, from an original."""

    original: Model
    world: World
    asked: Worst
    kind: ClassVar[str] = "worst"

    @property
    def label(self) -> str:
        """What is searched for."""
        return f"search for the {self.asked.side} forget set"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """What the original needs."""
        return needed_by(self.original)

    @property
    def models(self) -> tuple[Model, ...]:
        """The original."""
        return (self.original,)

    @property
    def settings(self) -> tuple[object, ...]:
        """The original, the search, its size and seed, the rows, and how they are scored."""
        bench, asked = self.world.bench, self.asked
        labels = asked.balanced
        search = (asked.side, asked.rounds, asked.step, asked.shrink, asked.lower, labels, self._size, self._seed)
        return (self.original.key, search, bench.print(self.world.all), bench.setting, bench.scoring)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the task's and the model's."""
        return (__name__, *self.world.bench.modules)

    @property
    def _seed(self) -> int:
        return stage_seed(self.world.seed, "worst")

    @property
    def _size(self) -> int:
        return size_of(self.asked.fraction, self.asked.count, len(self.world.all))

    def compute(self, workshop: Workshop) -> Artefact:
        """Search; return `preference`, `weight` and `loss` of each training row, (n,) float64."""
        rows, asked = self.world.all, self.asked
        label = self.world.bench.data.labels[rows] if asked.balanced else np.zeros(len(rows), dtype=np.int64)
        share = self._size / len(rows)
        weight = np.full(len(rows), share)
        sign = 1.0 if asked.side == "worst" else -1.0
        rounds = []
        with bar(self.label) as progress:
            for number in range(asked.rounds):
                loss = self._unlearned(workshop, weight, number, progress)
                preference = weight - asked.step * (sign * loss / loss.mean() + 2 * asked.shrink * weight)
                moved = weight
                weight = projected(preference, label, share)
                one = {"loss": float(weight @ loss / weight.sum()), "moved": float(np.abs(weight - moved).sum() / 2)}
                rounds.append({**one, "whole": float((weight > 0.99).sum() / self._size)})
                log.debug("%s: round %d: %s", self.label, number + 1, rounds[-1])
        kept = {"preference": preference, "weight": weight, "loss": loss}
        return Computed({name: torch.from_numpy(value) for name, value in kept.items()}, {"rounds": rounds})

    def _unlearned(
        self, workshop: Workshop, weight: NDArray[np.float64], number: int, progress: Progress
    ) -> NDArray[np.float64]:
        """Do the lower level from the original; return the loss of each training row after it, (n,) float64."""
        bench, rows, lower = self.world.bench, self.world.all, self.asked.lower
        seed = stage_seed(self._seed, number)
        original = workshop.take(self.original)
        with seeded(seed, "adapter"):
            model = trainable(bench.spec, original)
        kept = torch.zeros(int(rows.max()) + 1, dtype=torch.float64)
        kept[torch.from_numpy(rows)] = torch.from_numpy(1 - weight)
        with seeded(seed):
            self._finetune(model, kept.to(next(model.parameters()).device), lower, seed, progress)
        loss = bench.task.score(model.eval(), rows).loss.astype(np.float64)
        if not np.isfinite(loss).all():
            raise Diverged(0, self.label)
        return loss

    def _finetune(self, model: nn.Module, kept: Tensor, lower: Lower, seed: int, progress: Progress) -> None:
        task = self.world.bench.task

        def loss(batch: Batch) -> Tensor:
            return kept[batch.index] * cross_entropy(task.predict(model, batch))

        batches = Batches(task, (self.world.all,), lower.batch_size, lower.epochs, seed)
        mode = Mode(batch_norm=lower.batch_norm)
        stepper = Stepper(model, lower.optimizer, batches.steps, task.head, progress=progress, mode=mode)
        for _ in range(lower.epochs):
            stepper.descend(loss, batches)


def projected(values: NDArray[np.float64], label: Index, share: float) -> NDArray[np.float64]:
    """Return the nearest weights in [0, 1] (n,) whose mean is `share` among the rows of each label (n,)."""
    weights = np.empty_like(values)
    for one in np.unique(label):
        mine = values[label == one]
        low, high = mine.min() - 1, mine.max()
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if np.clip(mine - middle, 0, 1).mean() > share else (low, middle)
        weights[label == one] = np.clip(mine - high, 0, 1)
    return weights
