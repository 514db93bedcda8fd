"""Splits: the positions of the examples to retain, to forget, and to hold out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.errors import UserError


@dataclass(frozen=True, eq=False)
class Splits:
    """Positions of the examples: the training data as retain and forget, and the held-out parts.

    For class-like forget sets, `test_retain` and `test_forget` split the test set (None if empty), and
    `validation_retain` is the validation part without forgotten classes; for other forget sets all three are None.
    `retain_asked` and `forget_asked` are scored instead of retain and forget, if the data set's authors evaluate on
    other rows than the training rows.
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

    @cached_property
    def trained(self) -> Index:
        """The examples that the original is trained on."""
        return np.union1d(self.retain, self.forget)

    @property
    def steering(self) -> Index:
        """The validation examples that retrained models and methods may use, without forgotten classes."""
        return self.validation if self.validation_retain is None else self.validation_retain

    def scored(self) -> Iterator[tuple[str, Index]]:
        """Yield the splits to run the model on; the parts of test are taken from its scores."""
        yield "retain", self.retain if self.retain_asked is None else self.retain_asked
        yield "forget", self.forget if self.forget_asked is None else self.forget_asked
        yield "test", self.test

    def arrays(self) -> dict[str, Index]:
        """Return all splits that are not None, by name."""
        named = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in named.items() if value is not None}


class ForgetSet(Protocol):
    """A forget set's configuration."""

    @property
    def whole_class(self) -> bool:
        """Return whether whole classes or subclasses are forgotten, so that the test set is split too."""

    def label(self, info: DataInfo) -> str:
        """Return the forget set's name in results, the same for every run seed.

        Raises UserError if it is invalid.
        """

    def split(self, data: Data) -> Splits:
        """Split the data; raise UserError for a forget set that is empty or everything."""


def twins_retained(splits: Splits, data: Data) -> int:
    """Count the forget rows with a retained twin (another example of the same unit)."""
    return int(np.isin(data.unit[splits.forget], data.unit[splits.retain]).sum())


def drawn_how(whole_pairs: bool, seed: int) -> str:
    """Return the part of a label that says how the forget set was drawn."""
    return (":whole_pairs" if whole_pairs else "") + (f"@{seed}" if seed else "")


def too_few(count: int) -> UserError:
    return UserError(
        f"forget.whole_pairs=true forgets whole pairs, but every pair has more than {count} examples.\n"
        "Try: forget.whole_pairs=false, or a larger forget.fraction"
    )


def parted(positions: Index, chosen: NDArray[np.bool_]) -> tuple[Index, Index]:
    return positions[~chosen[positions]], positions[chosen[positions]]


def _divided(held_out: Index, chosen: NDArray[np.bool_]) -> tuple[Index | None, Index | None]:
    """Split held-out examples; an empty side becomes None."""
    stays, goes = (part if len(part) else None for part in parted(held_out, chosen))
    return stays, goes


def split(data: Data, retain: Index, forget: Index, chosen: NDArray[np.bool_], steered: bool = True) -> Splits:
    """Split the held-out examples by `chosen` too.

    `steered` says that all chosen training examples are forgotten; only then is the validation part split.
    """
    validation_retain = parted(data.validation, chosen)[0] if steered else None
    return Splits(retain, forget, data.validation, data.test, *_divided(data.test, chosen), validation_retain)


def requests(forget: ForgetSet, data: Data) -> tuple[Splits, ...]:
    """Return the splits of each request to forget: one, or of a stream several."""
    several = getattr(forget, "requests_of", None)
    return several(data) if several is not None else (forget.split(data),)
