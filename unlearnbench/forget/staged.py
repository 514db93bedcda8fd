"""Forget sets that trained models choose: the stages that come first, and the rows that follow from their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.forget.splits import ForgetSet, Splits

if TYPE_CHECKING:
    from unlearnbench.graph.artefact import Artefact
    from unlearnbench.graph.stage import Model, Stage
    from unlearnbench.stages.world import World


class Staged(ForgetSet, Protocol):
    """A forget set whose rows are known once its own stages are done.

    `split` draws as many rows at random: a rehearsal, by which everything is checked before anything trains. `label` is
    made of settings alone.
    """

    @property
    def seed(self) -> int:
        """The seed of the models that choose, whatever the run's: a whole sweep forgets the same rows."""

    def stages(self, original: Model, world: World) -> Mapping[str, Stage]:
        """Return the stages that the choice is made from; `world` has all training rows in retain.

        Raises UserError for what the original or the data lack.
        """

    def choose(self, world: World, found: Mapping[str, Artefact]) -> Index:
        """Return the positions to forget, sorted, from what the stages left."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The rows that a staged forget set has chosen; none at all before it has."""

    rows: Index
    whole_pairs: bool = False
    already: tuple[Path, ...] = ()
    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return chosen; results have the label of the forget set that chose."""
        return "chosen"

    def split(self, data: Data) -> Splits:
        """Forget the rows."""
        return Splits(np.setdiff1d(data.train, self.rows), self.rows, data.validation, data.test)


def staged(forget: ForgetSet) -> tuple[Staged, ...]:
    """Return the forget sets in this one, itself or requests of a stream, that trained models choose."""
    parts: tuple[Any, ...] = getattr(forget, "requests", None) or (forget,)
    return tuple(cast(Staged, one) for one in parts if hasattr(one, "choose"))


def nothing(forget: ForgetSet) -> Chosen:
    """Return a forget set that forgets nothing yet, of the data that this one leaves."""
    whole_pairs = getattr(forget, "whole_pairs", False)
    return Chosen(rows=np.empty(0, dtype=np.int64), whole_pairs=whole_pairs, already=getattr(forget, "already", ()))


def decided(forget: ForgetSet, rows: Callable[[Staged], Index]) -> ForgetSet:
    """Return a forget set with the chosen rows in the place of what chose them."""
    requests: tuple[Any, ...] | None = getattr(forget, "requests", None)
    if requests:
        return replace(forget, requests=tuple(decided(one, rows) for one in requests))
    if not hasattr(forget, "choose"):
        return forget
    one: Any = forget
    whole_pairs = getattr(one, "whole_pairs", False)
    return Chosen(rows=rows(one), whole_pairs=whole_pairs, already=getattr(one, "already", ()))
