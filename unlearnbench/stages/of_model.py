"""What the computations on one model that is made already have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.graph.stage import Model, Stage, needed_by

if TYPE_CHECKING:
    from unlearnbench.stages.bench import Bench


@dataclass(frozen=True, eq=False)
class OfModel(Stage):
    """A computation on a model; `bench` has the data and the task."""

    bench: Bench
    model: Model

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """What the model needs."""
        return needed_by(self.model)

    @property
    def models(self) -> tuple[Model, ...]:
        """The model."""
        return (self.model,)

    @property
    def modules(self) -> tuple[str, ...]:
        """The module of the computation, the task's and the model's."""
        return (type(self).__module__, *self.bench.modules)

    @property
    def limit(self) -> int | None:
        """The most tokens of a text, where a prompt in front of it may have it cut."""
        return self.bench.task.limit if getattr(self.model, "prompts", False) else None
