"""A stage: one computation as a value. Nothing has run yet, and its key says what it will be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

from unlearnbench.graph.keys import digest
from unlearnbench.graph.sources import source_digest

if TYPE_CHECKING:
    from torch import nn

    from unlearnbench.graph.artefact import Artefact
    from unlearnbench.graph.workshop import Workshop


class Model(Protocol):
    """Something that can be scored: the weights that a stage trained, or what is made of them when asked for."""

    @property
    def role(self) -> str:
        """What the model is called in logs and results."""

    @property
    def key(self) -> str:
        """What decides its weights."""

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """The stages that must be done before it can be built."""

    def build(self, workshop: Workshop) -> nn.Module:
        """Return the model in evaluation mode on the device."""


class Stage(ABC):
    """One computation: what it is made of, and how it is done. Equal keys mean equal results."""

    kind: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str:
        """What logs and progress call it."""

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """The stages that must be done first."""
        return ()

    @property
    def models(self) -> tuple[Model, ...]:
        """The models that `compute` builds: they stay in memory until the last stage that needs them."""
        return ()

    @property
    @abstractmethod
    def settings(self) -> tuple[object, ...]:
        """What decides the result, beside inputs and source code: typed values, digests, keys of models."""

    @property
    @abstractmethod
    def modules(self) -> tuple[str, ...]:
        """The modules that define the computation: they, and all that they import, are part of the key."""

    @property
    def like(self) -> str:
        """What stages that take about as long have in common: the code that they run."""
        return digest(self.kind, self.modules)[:16]

    @abstractmethod
    def compute(self, workshop: Workshop) -> Artefact:
        """Do the work."""

    @cached_property
    def key(self) -> str:
        """The SHA-256 of all that decides the result, 64 hexadecimal digits."""
        return digest(self.kind, self.settings, [stage.key for stage in self.inputs], source_digest(self.modules))


def needed_by(model: Model) -> tuple[Stage, ...]:
    """Return the stages that must be done before a model can be built: itself, if it is one."""
    return (model,) if isinstance(model, Stage) else model.inputs


def in_order(stages: Iterable[Stage]) -> Iterator[Stage]:
    """Yield the stages and all their inputs once each, inputs first."""
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        if stage.key in seen:
            return
        seen.add(stage.key)
        for one in stage.inputs:
            yield from visit(one)
        yield stage

    for stage in stages:
        yield from visit(stage)
