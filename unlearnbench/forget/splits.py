"""Splits: the positions of the examples to retain, to forget, and to hold out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.errors import UserError, counted
from unlearnbench.forget.lists import Entries, match, named, read

TRAINABLE = ("train", "validation")
"""The parts of the data that are cut from the training rows."""


@dataclass(frozen=True, eq=False)
class Splits:
    """Positions of the examples: the training data as retain and forget, and the held-out parts.

    For class-like forget sets, `test_retain` and `test_forget` split the test set (None if empty), and
    `validation_retain` is the validation part without forgotten classes; for other forget sets all three are None.
    `retain_asked` and `forget_asked` are scored instead of retain and forget, if the data set's authors evaluate on
    other rows than the training rows. `already` are the rows that were forgotten before; they are in no other part.
    `manipulated` are the training rows that forget=poisoned or confused manipulated: those that are known are `forget`,
    the others are in `retain`.
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
    already: Index | None = None
    manipulated: Index | None = None

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
    """A forget set's configuration, itself a dataclass.

    One that manipulates rows also has `manipulated(data) -> Manipulated` (forget/manipulated.py): models are trained on
    what that returns, while `split` is given the data as it was before.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

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
    """Return the error for a number of examples that holds no whole pair."""
    return UserError(
        f"forget.whole_pairs=true forgets whole pairs, but every pair has more than {count} examples.\n"
        "Try: forget.whole_pairs=false, or a larger forget.fraction"
    )


def parted(positions: Index, chosen: NDArray[np.bool_]) -> tuple[Index, Index]:
    """Divide positions into those that are not chosen and those that are; `chosen` marks every example, (n,)."""
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
    """Return the splits of each request to forget: one, or of a stream several.

    What was forgotten before (`forget.already`) is in none of them: the forget set is chosen as if the data set had
    never had those rows.
    """
    before = forgotten_before(forget, data)
    if before is None:
        return _requests(forget, data)
    gone, _ = before
    for one in (forget, *getattr(forget, "requests", ())):
        refuse = getattr(one, "refuse", None)
        if refuse is not None:
            refuse(gone, data)
    return tuple(replace(one, already=gone) for one in _requests(forget, _without(data, gone)))


def _requests(forget: ForgetSet, data: Data) -> tuple[Splits, ...]:
    several = getattr(forget, "requests_of", None)
    return several(data) if several is not None else (forget.split(data),)


def _without(data: Data, gone: Index) -> Data:
    """Return the data with these rows in no part; their positions do not change."""
    parts = {name: np.setdiff1d(getattr(data, name), gone) for name in ("train", "validation", "test")}
    return replace(data, **parts)


def full_label(forget: ForgetSet, info: DataInfo) -> str:
    """Return the forget set's name in results, with how many entries were forgotten before and a digest of them."""
    label, lists = forget.label(info), _already(forget)
    if not lists:
        return label
    names = {name for entries in lists for name in entries.names}
    digest = hashlib.sha256("\n".join(sorted(entries.digest for entries in lists)).encode()).hexdigest()[:8]
    return f"{label}-already{len(names)}-{digest}"


def forgotten_before(forget: ForgetSet, data: Data) -> tuple[Index, int] | None:
    """Return the positions of what `forget.already` lists, and how many of them were added; None if it is empty.

    Copies of a listed photo are added, unless they are what is to be forgotten now; of text, the twins of the listed
    rows if the forget set has whole pairs.

    Raises UserError, naming them, for entries that are unknown or were never trained on.
    """
    lists = _already(forget)
    if not lists:
        return None
    parts = parts_of(data)
    found: list[Index] = []
    for entries in lists:
        matched = match(entries, getattr(forget, "by", "auto"), data)
        trainable = {name: np.isin(parts[places], TRAINABLE) for name, places in matched.found.items()}
        never = [f"{name!r} ({parts[matched.found[name][0]]})" for name, rows in trainable.items() if not rows.any()]
        if never:
            raise UserError(
                f"{entries.what}: {len(never)} of {len(trainable)} entries are not training rows, so they cannot have "
                f"been forgotten before: {named(never)}.\nTry: the list without them"
            )
        found.append(matched.positions)
    gone = np.unique(np.concatenate(found))
    gone = gone[np.isin(parts[gone], TRAINABLE)]
    added = np.empty(0, dtype=np.int64)
    if data.same == "copies" or getattr(forget, "whole_pairs", False):
        same = np.flatnonzero(np.isin(data.unit, data.unit[gone]) & np.isin(parts, TRAINABLE))
        added = np.setdiff1d(same, gone)
    if data.same == "copies":
        for one in (forget, *getattr(forget, "requests", ())):
            listed = getattr(one, "listed", None)
            added = added if listed is None else np.setdiff1d(added, listed(data))
    return np.union1d(gone, added), len(added)


def _already(forget: ForgetSet) -> list[Entries]:
    files: tuple[Path, ...] = getattr(forget, "already", ())
    return [read(file, "forget.already") for file in files]


def parts_of(data: Data) -> NDArray[np.str_]:
    """Return the name of the part of the data that each row is in, (n,)."""
    parts = np.full(len(data.unit), "in no part")
    for name in ("test", *reversed(TRAINABLE)):
        parts[getattr(data, name)] = name
    return parts


def remarks(forget: ForgetSet, data: Data) -> Iterator[str]:
    """Yield what a run says about the lists that its forget set is chosen by."""
    for one in (forget, *getattr(forget, "requests", ())):
        about = getattr(one, "remarks", None)
        if about is not None:
            yield from about(data)
    before = forgotten_before(forget, data)
    if before is not None:
        gone, added = before
        kind = "copies of listed images" if data.same == "copies" else "twins of listed rows"
        more = f" ({added} of them are {kind})" if added else ""
        rows = counted(len(gone), "row was", "rows were")
        yield f"forget.already: {rows} forgotten before{more}; no model is trained on them, in no role"
