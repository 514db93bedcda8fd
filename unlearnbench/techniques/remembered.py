"""What a frozen model makes of examples, computed once each where they look the same at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from unlearnbench.contracts import IGNORED, Batch
from unlearnbench.problem import Problem
from unlearnbench.techniques.preferences import summed_loss
from unlearnbench.training.losses import softened

MOST = 2**30
"""Bytes that one memory keeps. What does not fit is computed at each step: a large vocabulary has long rows."""
LEAST = 512
"""Bytes that a tensor takes on a GPU, however small it is."""

Teacher = Callable[[Batch], Tensor]


def remembered(problem: Problem, epochs: int, compute: Teacher, each: Literal["row", "example"] = "row") -> Teacher:
    """Return `compute` without gradients, asked once for each example where that gives the same answer at every step.

    `compute(batch)` returns one entry for each of the batch's predictions, (m, ...), or for each example, (n, ...),
    from models that do not change. The answer is the same where the data set has no augmentation and the reference's
    batch norm uses its running statistics; only its last bits depend on the padding of its batch. Nothing is kept for a
    single one of `epochs`. An example is known by its position, so `compute` must not see other answers to the same
    question (`problem.answered`).
    """
    kept: dict[int, Tensor] = {}
    room, fixed = MOST, None

    @torch.no_grad()
    def answer(batch: Batch) -> Tensor:
        nonlocal room, fixed
        if fixed is None:  # now that the reference is in the mode of its student
            fixed = epochs > 1 and problem.task.fixed and not _by_batch(problem)
        if not fixed:
            return compute(batch)
        places: list[int] = batch.index.tolist()
        new = [number for number, place in enumerate(places) if place not in kept]
        if not new:
            return torch.cat([kept[place] for place in places])
        part = batch if len(new) == len(places) else batch.some(new)
        pieces = dict(zip(new, torch.split(compute(part), _lengths(part, each)), strict=True))
        found = [pieces[number] if number in pieces else kept[place] for number, place in enumerate(places)]
        for number, piece in pieces.items():
            size = max(piece.nbytes, LEAST)
            if size <= room and places[number] not in kept:
                kept[places[number]] = piece.clone()  # a view would keep all of the batch's
                room -= size
        return torch.cat(found)

    return answer


def reference_losses(problem: Problem, epochs: int) -> Teacher:
    """Return what gives the reference's cross-entropy of each example, summed over its rows, nats, (n,) float32."""

    def losses(batch: Batch) -> Tensor:
        return summed_loss(problem.predict(problem.reference, batch))

    return remembered(problem, epochs, losses, each="example")


def reference_softmax(problem: Problem, epochs: int, temperature: float = 1.0) -> Teacher:
    """Return what gives the reference's softmax(logits / temperature) for each of a batch's predictions, (m, c)."""

    def softmax(batch: Batch) -> Tensor:
        return softened(problem.predict(problem.reference, batch).logits, temperature)

    return remembered(problem, epochs, softmax)


def _by_batch(problem: Problem) -> bool:
    """Return whether the reference's outputs for an example depend on the rest of its batch."""
    layers = (one for one in problem.reference.modules() if isinstance(one, _BatchNorm))
    return any(one.training or one.running_mean is None for one in layers)


def _lengths(batch: Batch, each: str) -> list[int]:
    """Return how many entries each of the batch's examples has."""
    if each == "example" or batch.labels.ndim == 1:
        return [1] * len(batch)
    assert batch.places is None, "only torch.func asks for places, and nothing is remembered there"
    lengths: list[int] = (batch.labels[:, 1:] != IGNORED).sum(dim=1).tolist()
    return lengths
