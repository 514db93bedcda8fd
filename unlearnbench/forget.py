"""Forget sets: which training examples must go, as disjoint index arrays over one data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unlearnbench.errors import UserError, nearest
from unlearnbench.problem import Data, DataInfo, Index
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import AnySeed, Label
from unlearnbench.sampling import first_units


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


@dataclass(frozen=True, kw_only=True)
class Random:
    """A random part of the training data: a fraction of it, or a count of examples.

    `whole_pairs` forgets counterfactual twins together, so that none is left in retain: at most so many examples then
    go. Where no examples belong together, as with images, it changes nothing.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    fraction: Annotated[float, Field(gt=0, lt=1)] | None
    count: Annotated[int, Field(ge=2, le=10**9)] | None
    seed: AnySeed
    whole_pairs: bool = False

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return random:<fraction or count>, checked against the number of examples that are trained on."""
        if (self.fraction is None) == (self.count is None):
            raise UserError(
                "forget=random takes a fraction or a count, one of the two.\nTry: forget.fraction=0.1, or "
                "forget.fraction=null forget.count=100"
            )
        trained = info.train - info.held_out
        if self._count(trained) < 2:
            raise UserError(
                f"forget.fraction={self.fraction} of {trained} training examples is an empty forget set.\n"
                f"Try: forget.fraction=0.1"
            )
        self._check_rest(trained)
        return f"random:{self.count or self.fraction}" + _drawn_how(self.whole_pairs, self.seed)

    def split(self, data: Data) -> Splits:
        """Draw the forget set by its own seed, whatever the run's seed is."""
        self._check_rest(len(data.train))
        count = max(self._count(len(data.train)), 2)
        order = np.random.default_rng(stage_seed(self.seed, "forget", "random")).permutation(data.train)
        forget = np.sort(first_units(order, data.unit, count) if self.whole_pairs else order[:count])
        if not len(forget):
            raise _too_few(count)
        return Splits(np.setdiff1d(data.train, forget), forget, data.validation, data.test)

    def _count(self, trained: int) -> int:
        return self.count or round((self.fraction or 0) * trained)

    def _check_rest(self, trained: int) -> None:
        """Raise UserError where fewer than two of the examples that are trained on would be retained."""
        if self._count(trained) > trained - 2:
            asked = f"count={self.count}" if self.count else f"fraction={self.fraction}"
            instead = f"count={max(trained // 10, 2)}" if self.count else "fraction=0.1"
            raise UserError(
                f"forget.{asked} forgets everything: {trained} examples are trained on once the validation part is "
                f"held out.\nTry: forget.{instead}"
            )


@dataclass(frozen=True, kw_only=True)
class ByClass:
    """All training examples of some classes, by number or name."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    classes: tuple[Label | str, ...]
    seed: AnySeed

    whole_class = True

    def label(self, info: DataInfo) -> str:
        """Return class:<names>."""
        numbers = numbers_of(self.classes, info.classes, "classes")
        if info.kind == "image" and len(info.classes) - len(numbers) < 2:
            raise UserError(
                f"forget.classes leaves {len(info.classes) - len(numbers)} of {len(info.classes)} classes to retain: a "
                "retrained model would have nothing to tell apart.\nTry: fewer forget.classes, or forget=random"
            )
        return "class:" + "+".join(info.classes[number] for number in numbers)

    def split(self, data: Data) -> Splits:
        """Divide training and test data by label."""
        return _by_label(data, data.labels, numbers_of(self.classes, data.info.classes, "classes"))


@dataclass(frozen=True, kw_only=True)
class Subclass:
    """All training examples of some finer classes, in a data set whose labels are the coarser ones."""

    classes: tuple[Label | str, ...]
    seed: AnySeed

    whole_class = True

    def label(self, info: DataInfo) -> str:
        """Return subclass:<names>; raise UserError where the data set has no finer labels below its own."""
        if not info.subclasses:
            raise UserError(
                "forget=subclass needs a data set whose labels are coarser than its subclasses.\n"
                "Try: dataset=fashion dataset.labels=superclass (cifar100 too), or forget=class"
            )
        numbers = numbers_of(self.classes, info.subclasses, "classes")
        return "subclass:" + "+".join(info.subclasses[number] for number in numbers)

    def split(self, data: Data) -> Splits:
        """Divide training and test data by the finer label."""
        return _by_label(data, data.subclass, numbers_of(self.classes, data.info.subclasses, "classes"))


@dataclass(frozen=True, kw_only=True)
class Column:
    """The training rows whose column has a value, or a random fraction of them; the test set divides by the value.

    `whole_pairs` draws the fraction in whole counterfactual pairs, and lets each forgotten row's twin go with it, also
    one that has another value: no twin of a forgotten row is retained.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    column: str
    value: bool | Label | str
    fraction: Annotated[float, Field(gt=0, le=1)]
    seed: AnySeed
    whole_pairs: bool = False

    @property
    def whole_class(self) -> bool:
        """Return whether all rows of the value go, so that the test set divides too."""
        return self.fraction == 1

    def label(self, info: DataInfo) -> str:
        """Return column=value, and the fraction where it is not all; raise UserError for an unknown column."""
        if self.column not in info.columns:
            known = ", ".join(info.columns) or "none at all"
            raise UserError(
                f"forget.column={self.column} is no column of this data set.{nearest(self.column, info.columns)}\n"
                f"It has: {known}.\nTry: {self._instead(info)}"
            )
        drawn = self.fraction < 1
        part = f":{self.fraction}" if drawn else ""
        return f"{self.column}={self.value}{part}" + _drawn_how(self.whole_pairs, self.seed if drawn else 0)

    def _instead(self, info: DataInfo) -> str:
        if info.forget_sets:
            return f"forget=tofu forget.name={info.forget_sets[-1]}"
        return f"forget.column={info.columns[0]}" if info.columns else "forget=class"

    def split(self, data: Data) -> Splits:
        """Divide training and test data by the column; raise UserError where nothing, or everything, would go."""
        values = data.columns[self.column]
        known = sorted(set(values[data.train].tolist()))
        value = next((one for one in known if one == self.value or str(one) == str(self.value)), None)
        if value is None or len(known) < 2:
            shown = ", ".join(str(one) for one in known[:12])
            other = next((one for one in known if str(one)), "VALUE")
            raise UserError(
                f"forget.value={self.value} would forget {'nothing' if value is None else 'everything'}: "
                f"the training rows' {self.column} is {shown}.\nTry: "
                + (f"forget.value={other}" if len(known) > 1 else "another forget.column, or forget=random")
            )
        _, goes = _parted(data.train, values == value)
        if self.fraction < 1:
            order = np.random.default_rng(stage_seed(self.seed, "forget", "column")).permutation(goes)
            count = self._count(len(goes))
            goes = np.sort(first_units(order, data.unit, count) if self.whole_pairs else order[:count])
            if not len(goes):
                raise _too_few(count)
        if self.whole_pairs:
            goes = data.train[np.isin(data.unit[data.train], data.unit[goes])]
            if len(goes) > len(data.train) - 2:
                raise UserError(
                    f"forget.value={self.value} with the twins of its rows would forget everything.\n"
                    "Try: forget.whole_pairs=false, or a smaller forget.fraction"
                )
        return _split(data, np.setdiff1d(data.train, goes), goes, values == value, steered=self.fraction == 1)

    def _count(self, rows: int) -> int:
        """Return how many of the value's rows go; raise UserError where they are no set to forget."""
        count = round(self.fraction * rows)
        if count < 2:
            enough = min(max(math.ceil(200 / rows) / 100, 0.1), 1.0)
            raise UserError(
                f"forget.fraction={self.fraction} of the {rows} training rows with {self.column}={self.value} is an "
                f"empty forget set, or one row.\nTry: forget.fraction={enough:g}"
            )
        return count


def twins_retained(splits: Splits, data: Data) -> int:
    """Count the forget rows of which a twin, an example that is only sampled together with it, is retained."""
    return int(np.isin(data.unit[splits.forget], data.unit[splits.retain]).sum())


def _drawn_how(whole_pairs: bool, seed: int) -> str:
    """Return what a label says of how a part was drawn, beside its size."""
    return (":whole_pairs" if whole_pairs else "") + (f"@{seed}" if seed else "")


def _too_few(count: int) -> UserError:
    return UserError(
        f"forget.whole_pairs=true forgets whole pairs, and none has {count} examples or fewer.\n"
        "Try: forget.whole_pairs=false, or a larger forget.fraction"
    )


def _parted(positions: Index, chosen: NDArray[np.bool_]) -> tuple[Index, Index]:
    return positions[~chosen[positions]], positions[chosen[positions]]


def _divided(held_out: Index, chosen: NDArray[np.bool_]) -> tuple[Index | None, Index | None]:
    """Divide held-out examples; a side that would be empty is None."""
    stays, goes = (part if len(part) else None for part in _parted(held_out, chosen))
    return stays, goes


def _split(data: Data, retain: Index, forget: Index, chosen: NDArray[np.bool_], steered: bool = True) -> Splits:
    """Divide the held-out examples too, by what is `chosen`; validation only where all of that is forgotten."""
    validation_retain = _parted(data.validation, chosen)[0] if steered else None
    return Splits(retain, forget, data.validation, data.test, *_divided(data.test, chosen), validation_retain)


def numbers_of(chosen: Sequence[int | str], names: Sequence[str], key: str) -> tuple[int, ...]:
    """Turn names and numbers into sorted numbers; raise UserError for unknown, none, or all of them."""
    numbers = set()
    for entry in chosen:
        if isinstance(entry, int) and 0 <= entry < len(names):
            numbers.add(entry)
        elif isinstance(entry, str) and entry in names:
            numbers.add(names.index(entry))
        else:
            shown = ", ".join(names[:20]) + (f" ... ({len(names)} in all)" if len(names) > 20 else "")
            raise UserError(
                f"forget.{key} names {entry!r}, which this data set does not have."
                f"{nearest(str(entry), names)}\nIt has: {shown}; or 0 to {len(names) - 1}.\n"
                f"Try: 'forget.{key}=[{names[0]}]'"
            )
    if not numbers:
        raise UserError(f"forget.{key} is empty: nothing would be forgotten.\nTry: 'forget.{key}=[{names[0]}]'")
    if len(numbers) == len(names):
        raise UserError(f"forget.{key} names every class: nothing would be retained.\nTry: 'forget.{key}=[{names[0]}]'")
    return tuple(sorted(numbers))


def _by_label(data: Data, labels: Index, numbers: tuple[int, ...]) -> Splits:
    goes = np.isin(labels, numbers)
    retain, forget = _parted(data.train, goes)
    if len(forget) < 2:
        found = "one training example has" if len(forget) else "no training example has"
        raise UserError(
            f"{found} the label that is to be forgotten; a forget set is of two or more.\n"
            "Try: another one of forget.classes, or a larger dataset.limit"
        )
    return _split(data, retain, forget, goes)
