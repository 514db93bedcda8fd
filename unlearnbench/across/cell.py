"""The models of a cell over seeds, and how a comparison of unlearned with retrained ones gets its null.

A cell is the runs that differ in nothing but method and seed. A distance between samples depends on how many models are
in them, so value and null are of equally many: with N unlearned and M retrained models, each draw takes
h = min(N, M / 2) of the retrained ones, A, another h, B, and h of the unlearned ones, U.

    value = mean over draws of numbers(U, A)        null = numbers(B, A), its mean, and its 5th and 95th percentile

B is what a perfect method would give. With twice as many retrained models as unlearned ones nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np

from unlearnbench.evidence import Floats, Integers
from unlearnbench.metrics.measure import Column
from unlearnbench.randomness import stage_seed

Place = tuple[str, str]
"""A split and a metric."""
Values = Mapping[Place, float]


@dataclass(frozen=True, eq=False)
class Models:
    """What models of one kind say of the rows of each split.

    `confidence` (N, n) float64 as in metrics/confidence.py, `right` (N,) the share of rows that each model gets right.
    """

    confidence: Mapping[str, Floats]
    right: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.right.values())))

    def take(self, chosen: Integers) -> Models:
        """Return the chosen models."""
        return Models(
            {split: values[chosen] for split, values in self.confidence.items()},
            {split: values[chosen] for split, values in self.right.items()},
        )

    @cached_property
    def are_one(self) -> bool:
        """Whether all of them say the same of the forget rows: what is varied does not reach them."""
        return len(self) > 1 and not np.ptp(self.confidence["forget"], axis=0).any()


@dataclass(frozen=True)
class Compared:
    """One number of some models against the retrained ones, from `models` of each kind, beside its null."""

    split: str
    metric: str
    value: float
    null: float
    null_low: float
    null_high: float
    models: int
    higher_is_better: bool

    @property
    def within(self) -> bool:
        """Whether the value is no worse than 95 % of the null."""
        return self.value >= self.null_low if self.higher_is_better else self.value <= self.null_high


class Across(Protocol):
    """The settings of an evaluation over seeds, a frozen dataclass.

    `fewest` is how many models of each kind it needs, `draws` how often they are drawn, and `higher` names the metrics
    of which higher values are better; of all others lower ones are.
    """

    higher: ClassVar[frozenset[str]]

    @property
    def fewest(self) -> int: ...

    @property
    def draws(self) -> int: ...

    def numbers(self, unlearned: Models, retrained: Models) -> Values:
        """Return the metrics of equally many unlearned and retrained models, by split and metric."""

    def columns(self, models: int) -> Sequence[Column]:
        """Return what a leaderboard shows where so many models of each kind are compared."""


def over_draws(
    asked: Across, name: str, subjects: Mapping[str, Models], retrained: Models
) -> dict[str, list[Compared]]:
    """Return the numbers of each subject, by its name; the evaluation's own name seeds the draws.

    The null is computed once for all subjects with equally many models.
    """
    nulls: dict[int, list[Values]] = {}
    found = {}
    for subject, models in subjects.items():
        half = side(len(models), len(retrained))
        pairs = list(_draws(asked.draws, stage_seed(0, name), len(models), len(retrained)))
        if half not in nulls:
            nulls[half] = [asked.numbers(retrained.take(b), retrained.take(a)) for _, a, b in pairs]
        values = [asked.numbers(models.take(u), retrained.take(a)) for u, a, _ in pairs]
        found[subject] = list(_joined(asked, values, nulls[half], half))
    return found


def side(subjects: int, retrained: int) -> int:
    """Return how many models of each kind are compared with each other."""
    return min(subjects, retrained // 2)


def _draws(count: int, seed: int, subjects: int, retrained: int) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield positions of subjects, of as many retrained models, and of as many others of these."""
    half = side(subjects, retrained)
    for number in range(count):
        of_retrained = np.random.default_rng((seed, number)).permutation(retrained)
        of_subjects = np.random.default_rng((seed, number, 1)).permutation(subjects)
        yield of_subjects[:half], of_retrained[:half], of_retrained[half : 2 * half]


def _joined(asked: Across, values: Sequence[Values], nulls: Sequence[Values], models: int) -> Iterator[Compared]:
    """Yield each number's mean over the draws, beside its null."""
    for split, metric in values[0]:
        of_null = [one[split, metric] for one in nulls]
        low, high = np.percentile(of_null, [5, 95])
        yield Compared(
            split, metric, float(np.mean([one[split, metric] for one in values])),
            float(np.mean(of_null)), float(low), float(high), models, metric in asked.higher,
        )  # fmt: skip
