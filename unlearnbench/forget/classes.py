"""Forget whole classes, or the finer classes below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.errors import UserError, nearest
from unlearnbench.forget.splits import Splits, parted, split
from unlearnbench.ranges import AnySeed, Label


@dataclass(frozen=True, kw_only=True)
class ByClass:
    """All training examples of some classes, given by number or name."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    classes: tuple[Label | str, ...]
    seed: AnySeed
    already: tuple[Path, ...] = ()

    whole_class = True

    def label(self, info: DataInfo) -> str:
        """Return class:<names>; raise UserError for a class that is not there, or where all would go."""
        if not info.has_options:
            raise UserError(
                "forget=class needs classes, and the rows of this data set have no answer options.\n"
                "Try: forget=random, or forget=column forget.column=NAME forget.value=VALUE"
            )
        numbers = numbers_of(self.classes, info.classes, "classes")
        left = len(info.classes) - len(numbers)
        if left < info.fewest_classes:
            raise UserError(
                f"forget.classes leaves {left} of {len(info.classes)} classes to retain; "
                "a retrained model needs at least two.\nTry: fewer forget.classes, or forget=random"
            )
        return "class:" + "+".join(info.classes[number] for number in numbers)

    def split(self, data: Data) -> Splits:
        """Divide training and test data by label."""
        return _by_label(data, data.labels, numbers_of(self.classes, data.info.classes, "classes"))


@dataclass(frozen=True, kw_only=True)
class Subclass:
    """All training examples of some finer classes, in a data set labelled with coarser ones."""

    classes: tuple[Label | str, ...]
    seed: AnySeed
    already: tuple[Path, ...] = ()

    whole_class = True

    def label(self, info: DataInfo) -> str:
        """Return subclass:<names>; raise UserError if the data set has no finer labels."""
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


def numbers_of(chosen: Sequence[int | str], names: Sequence[str], key: str) -> tuple[int, ...]:
    """Turn names and numbers into sorted numbers.

    Raises UserError if one is unknown, or for none or all of them.
    """
    numbers = {number_of(entry, names, key, f"'forget.{key}=[{names[0]}]'") for entry in chosen}
    if not numbers:
        raise UserError(f"forget.{key} is empty: nothing would be forgotten.\nTry: 'forget.{key}=[{names[0]}]'")
    if len(numbers) == len(names):
        raise UserError(f"forget.{key} has every class: nothing would be retained.\nTry: 'forget.{key}=[{names[0]}]'")
    return tuple(sorted(numbers))


def number_of(entry: int | str, names: Sequence[str], key: str, instead: str) -> int:
    """Return the number of a class that is given by number or name; raise UserError, with `instead` to try."""
    if isinstance(entry, int) and 0 <= entry < len(names):
        return entry
    if isinstance(entry, str) and entry in names:
        return names.index(entry)
    shown = ", ".join(names[:20]) + (f" ... ({len(names)} in all)" if len(names) > 20 else "")
    raise UserError(
        f"forget.{key}: unknown class {entry!r}."
        f"{nearest(str(entry), names)}\nThe classes are: {shown}; or 0 to {len(names) - 1}.\n"
        f"Try: {instead}"
    )


def _by_label(data: Data, labels: Index, numbers: tuple[int, ...]) -> Splits:
    goes = np.isin(labels, numbers)
    retain, forget = parted(data.train, goes)
    if len(forget) < 2:
        found = "only one training example has" if len(forget) else "no training example has"
        raise UserError(
            f"{found} the label to forget; a forget set needs at least two.\n"
            "Try: another class in forget.classes, or a larger dataset.limit"
        )
    return split(data, retain, forget, goes)
