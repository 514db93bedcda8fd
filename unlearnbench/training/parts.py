"""The parts of a step: batches cut to fit into memory, and the mean of a loss over the whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearnbench.contracts import Batch
from unlearnbench.training.losses import Losses


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of each batch of a step; the sum of a piece's values over its divisor is its part of the batch's mean."""

    batches: tuple[Batch, ...]
    divisors: tuple[int, ...]

    def loss(self, values: Losses) -> Tensor:
        """Add up this part of the mean of each batch's values, a scalar float64; all parts add up to the step's loss.

        The averages are float64, so that the gradient that reaches a value of float32 is rounded once.
        """
        terms = values if isinstance(values, tuple) else (values,)
        found, wanted = [tuple(term.shape) for term in terms], [(len(batch),) for batch in self.batches]
        if found != wanted:
            raise ValueError(
                f"a loss returned values of shape {found}, and for these batches it must return {wanted}: one tensor "
                "for each batch, with one value per example"
            )
        means = [term.double().sum() / divisor for term, divisor in zip(terms, self.divisors, strict=True)]
        return torch.stack(means).sum()


def parts(batches: tuple[Batch, ...], size: int) -> Iterator[Part]:
    """Cut the batches of a step into parts of at most `size` examples of the largest batch; none is of one example.

    A batch with fewer examples than there are parts gives each part one example, which several parts then see. It
    counts less in each, so that the parts still add up to the step.
    """
    largest = max(len(batch) for batch in batches)
    count = -(-largest // size)
    if size > 1:
        count = max(min(count, largest // 2), 1)
    for number in range(count):
        pieces = [_piece(batch, number, count) for batch in batches]
        yield Part(tuple(piece for piece, _ in pieces), tuple(divisor for _, divisor in pieces))


def _piece(batch: Batch, number: int, count: int) -> tuple[Batch, int]:
    start = len(batch) * number // count
    stop = max(len(batch) * (number + 1) // count, start + 1)
    times = sum(len(batch) * other // count == start for other in range(count))  # over 1 where it is seen again
    return batch.rows(start, stop), len(batch) * times
