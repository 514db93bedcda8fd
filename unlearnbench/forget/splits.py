"""Positions of the training examples that go and stay, and how a forget set divides the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.errors import UserError


@dataclass(frozen=True, eq=False)
class Splits:
    """Positions of the examples: training data as retain and forget, and what is held out.

    `test_retain` and `test_forget` divide the test set for class-like forget sets; one is None where it would be empty,
    both are otherwise; so is `validation_retain`, the validation part without what is forgotten. `retain_asked` and
    `forget_asked` are scored in place of retain and forget where the data set's authors ask other rows than those that
    are trained on.
    """

    retain: Index
    forget: Index
    validation: Index
    test: Index
    test_retain: Index | None = None
    test_forget: Index | None = None
    validation_retain: Index | None = None
    retain_asked: Index | None = None
    forget_asked: Index | None = None

    @property
    def steering(self) -> Index:
        """The validation examples that may steer whoever must not know the forget set: retrained, and a method."""
        return self.validation if self.validation_retain is None else self.validation_retain

    def scored(self) -> Iterator[tuple[str, Index]]:
        """Yield the splits that take a forward pass; the parts of test are cut from its scores."""
        yield "retain", self.retain if self.retain_asked is None else self.retain_asked
        yield "forget", self.forget if self.forget_asked is None else self.forget_asked
        yield "test", self.test

    def arrays(self) -> dict[str, Index]:
        """Return all splits that there are, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


class ForgetSet(Protocol):
    """A forget set's configuration."""

    @property
    def whole_class(self) -> bool:
        """Return whether whole classes or subclasses go, so that the test set divides too."""

    def label(self, info: DataInfo) -> str:
        """Name the forget set in results, the same for every seed of a run; raise UserError where it is wrong."""

    def split(self, data: Data) -> Splits:
        """Divide the data; raise UserError for a forget set that is empty or everything."""


def twins_retained(splits: Splits, data: Data) -> int:
    """Count the forget rows of which a twin, an example that is only sampled together with it, is retained."""
    return int(np.isin(data.unit[splits.forget], data.unit[splits.retain]).sum())


def drawn_how(whole_pairs: bool, seed: int) -> str:
    """Return what a label says of how a part was drawn, beside its size."""
    return (":whole_pairs" if whole_pairs else "") + (f"@{seed}" if seed else "")


def too_few(count: int) -> UserError:
    return UserError(
        f"forget.whole_pairs=true forgets whole pairs, and none has {count} examples or fewer.\n"
        "Try: forget.whole_pairs=false, or a larger forget.fraction"
    )


def parted(positions: Index, chosen: NDArray[np.bool_]) -> tuple[Index, Index]:
    return positions[~chosen[positions]], positions[chosen[positions]]


def _divided(held_out: Index, chosen: NDArray[np.bool_]) -> tuple[Index | None, Index | None]:
    """Divide held-out examples; a side that would be empty is None."""
    stays, goes = (part if len(part) else None for part in parted(held_out, chosen))
    return stays, goes


def split(data: Data, retain: Index, forget: Index, chosen: NDArray[np.bool_], steered: bool = True) -> Splits:
    """Divide the held-out examples too, by what is `chosen`; validation only where all of that is forgotten."""
    validation_retain = parted(data.validation, chosen)[0] if steered else None
    return Splits(retain, forget, data.validation, data.test, *_divided(data.test, chosen), validation_retain)


def requests(forget: ForgetSet, data: Data) -> tuple[Splits, ...]:
    """Return the splits of each request to forget: one, or of a stream several."""
    several = getattr(forget, "requests_of", None)
    return several(data) if several is not None else (forget.split(data),)
