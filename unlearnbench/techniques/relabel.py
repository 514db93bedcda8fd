"""Other answers for some examples: classes for images, options for text."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Index
from unlearnbench.randomness import stage_seed
from unlearnbench.task import Task

Labels = Literal["any", "wrong"]
"""Which answers are drawn: any of those that an example can have, or any but its own."""


def relabelled(task: Task, index: Index, labels: Labels, *seed: str | int) -> Task:
    """Return the task in which each of these examples has an answer drawn uniformly; the seed alone decides it."""
    allowed = task.choices(index)
    if labels == "wrong":
        allowed = wrong(task, index)
    return task.answering(index, drawn(allowed, np.random.default_rng(stage_seed(*seed, "labels"))))


def wrong(task: Task, index: Index) -> NDArray[np.bool_]:
    """Return which wrong answers these examples can have, (n, c)."""
    allowed = task.choices(index)
    allowed[np.arange(len(index)), task.answers(index)] = False
    return allowed


def drawn(allowed: NDArray[np.bool_], generator: np.random.Generator) -> Index:
    """Draw one of the columns that are true in each row (n, c), uniformly, (n,) int64."""
    place = (generator.random(len(allowed)) * allowed.sum(axis=1)).astype(np.int64)
    chosen: Index = (np.cumsum(allowed, axis=1) > place[:, None]).argmax(axis=1)
    return chosen


def no_choice(task: Task, index: Index) -> str | None:
    """Return why answers cannot be drawn for these examples: some of them have none but their own."""
    alone = int((~wrong(task, index).any(axis=1)).sum())
    if not alone:
        return None
    return (
        f"other answers are drawn for the forget set, and {alone} of its {len(index)} examples have no other answer to "
        "choose from; try method=gradient_ascent"
    )
