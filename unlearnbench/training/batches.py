"""Shuffled batches: what each step of an epoch sees."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from unlearnbench.contracts import Batch, Index
from unlearnbench.randomness import stage_seed
from unlearnbench.task import Task

Beside = Callable[[Index, torch.Generator], Batch]
"""Makes another batch of the same examples, in their order, such as other answers to their questions."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Shuffled batches for some epochs: tuples of one batch per index; the first sets the length, the others cycle.

    With `beside`, what it makes of the first index's batch comes second in each tuple.
    """

    task: Task
    indexes: tuple[Index, ...]
    size: int
    epochs: int
    seed: int
    beside: Beside | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in one epoch."""
        return len(even_sizes(len(self.indexes[0]), self.size))

    @property
    def steps(self) -> int:
        """The number of steps in all epochs."""
        return self.steps_per_epoch * self.epochs

    def epoch(self, number: int) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of one epoch; its order and augmentation depend on seed and epoch alone."""
        streams = [self._stream(place, number) for place in range(len(self.indexes))]
        for _ in range(self.steps_per_epoch):
            yield tuple(itertools.chain.from_iterable(next(stream) for stream in streams))

    def _stream(self, place: int, epoch: int) -> Iterator[tuple[Batch, ...]]:
        index = self.indexes[place]
        generator = torch.Generator().manual_seed(stage_seed(self.seed, "batches", epoch, place))
        drawing = torch.Generator().manual_seed(stage_seed(self.seed, "beside", epoch))
        sizes = even_sizes(len(index), self.size)
        while True:
            shuffled = index[torch.randperm(len(index), generator=generator).numpy()]
            parts = self.task.arranged(shuffled, sizes, generator)
            for part, following in itertools.zip_longest(parts, parts[1:]):
                if following is not None:
                    self.task.fetch(following)
                batch = self.task.batch(part, generator, epoch, self.seed)
                yield (batch,) if self.beside is None or place else (batch, self.beside(part, drawing))


def even_sizes(count: int, size: int) -> list[int]:
    """Return the sizes of the fewest even batches of at most `size`: a small rest would upset batch norm.

    A rest of one example joins another batch, which is then one larger than `size`, unless batches of one are wanted.
    """
    steps = math.ceil(count / size)
    if size > 1:
        steps = max(min(steps, count // 2), 1)
    return [count * (step + 1) // steps - count * step // steps for step in range(steps)]
