"""Small stages that add numbers, and a job that reads them: the graph and its runner, without any training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.stage import Stage, in_order
from unlearnbench.graph.workshop import Workshop
from unlearnbench.runners.claims import Claims
from unlearnbench.runners.execute import Done, computed, execute


@dataclass(frozen=True, eq=False)
class Sum(Stage):
    """The sum of its inputs and a number; `note` is called when it is computed."""

    number: float
    parents: tuple[Stage, ...] = ()
    note: Callable[[Stage], None] = lambda stage: None
    kind: ClassVar[str] = "sum"

    @property
    def label(self) -> str:
        return f"sum with {self.number}"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        return self.parents

    @property
    def settings(self) -> tuple[object, ...]:
        return (self.number,)

    @property
    def modules(self) -> tuple[str, ...]:
        return ("unlearnbench.randomness",)

    def compute(self, workshop: Workshop) -> Artefact:
        self.note(self)
        before = sum(float(workshop.artefact(one).tensors["x"]) for one in self.parents)
        return Computed({"x": torch.tensor(self.number + before)}, {"note": "n"})


@dataclass(eq=False)
class Reading:
    """A job that reads its stages' sums once they are there."""

    stages: tuple[Stage, ...]
    found: list[float] = field(default_factory=list)
    error: Exception | None = None
    key: str = "reading"
    ended: bool = False

    def is_done(self) -> bool:
        return self.ended

    def device(self) -> str:
        return "cpu"

    @contextmanager
    def computing(self) -> Iterator[None]:
        yield

    def grow(self, workshop: Workshop, done: Done) -> bool:
        return False

    def finish(self, workshop: Workshop, done: Done) -> None:
        self.error = done.error(self.stages)
        if self.error is None:
            self.found = [float(workshop.artefact(stage).tensors["x"]) for stage in self.stages]
        self.ended = True


def made(folder: Path, stage: Stage) -> tuple[Stage, Workshop]:
    """Compute a stage and what it needs in a folder; return it, and a workshop that can read and build it."""
    workshop = Workshop(Cache(folder))
    for one in in_order([stage]):
        if workshop.cache.read(one.key) is None:
            computed(one, workshop, "cpu")
    return stage, workshop


def do(folder: Path, *stages: Stage) -> tuple[Reading, Done]:
    """Do the stages with a cache in a folder; return what a job read of them, and what became of them."""
    job = Reading(stages)
    done = execute([job], Cache(folder), Claims(folder / "claims"))
    return job, done
