"""Forget the training rows that a file lists."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.errors import UserError, counted
from unlearnbench.forget.lists import Chosen, Entries, Matched, match, named, read
from unlearnbench.forget.splits import Splits, drawn_how, parts_of


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The training rows listed in a file, by id, by path or by position.

    `by` says what the entries are; `auto` finds out: ids win over paths, paths over positions. `whole_pairs` also
    forgets each row's counterfactual twin, or of images each copy with the same pixels. With `exact` (forget=indices)
    every entry must be one training row, and no row may be listed twice.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    file: Path | None
    by: Chosen
    whole_pairs: bool
    exact: bool = False
    already: tuple[Path, ...] = ()

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return list:<the file's name>-<a digest of its entries>, or with `exact` indices:...

        Raises UserError if the file cannot be read, or is not exact.
        """
        entries = self._entries()
        if self.exact:
            self._check_exact(entries)
        read_as = "" if self.by == "auto" else f":{self.by}"
        return f"{self._name}:{entries.stem}-{entries.digest}{read_as}" + drawn_how(self.whole_pairs, 0)

    def split(self, data: Data) -> Splits:
        """Take the listed rows out of the training data; raise UserError, naming them, if some are not in it."""
        matched = self._matched(data)
        parts = parts_of(data)
        other = {name: parts[places[0]] for name, places in matched.found.items() if "train" not in parts[places]}
        if other:
            raise _not_trained(matched.entries, other)
        if self.exact:
            _check_single(matched)
        forget = np.intersect1d(matched.positions, data.train)
        if self.whole_pairs:
            forget = _pairs(forget, data)
        retain = np.setdiff1d(data.train, forget)
        if len(retain) < 2:
            raise UserError(
                f"{matched.entries.what} leaves {len(retain)} of {len(data.train)} training rows to retain; at least "
                "two are needed.\nTry: a shorter list"
            )
        return Splits(retain, forget, data.validation, data.test)

    def listed(self, data: Data) -> Index:
        """Return the positions of the listed rows."""
        return self._matched(data).positions

    def refuse(self, gone: Index, data: Data) -> None:
        """Raise UserError, naming them, for entries that are among the rows forgotten before."""
        before = set(gone.tolist())
        matched = self._matched(data)
        twice = [repr(name) for name, places in matched.found.items() if not before.isdisjoint(places)]
        if twice:
            raise UserError(
                f"{matched.entries.what}: {len(twice)} of {len(matched.found)} entries are in forget.already too: "
                f"{named(twice)}.\nTry: leave them out of one of the two lists"
            )

    def remarks(self, data: Data) -> Iterator[str]:
        """Yield what a run says about the list."""
        matched = self._matched(data)
        entries, rows = matched.entries, np.intersect1d(matched.positions, data.train)
        more = len(_pairs(rows, data)) - len(rows) if self.whole_pairs else 0
        same = ("copy is", "copies are") if data.same == "copies" else ("twin is", "twins are")
        held_out = len(matched.positions) - len(rows)
        repeated = counted(len(entries.repeated), "repeated line counts", "repeated lines count")
        yield (
            f"{entries.what}: {counted(len(entries.names), 'entry', 'entries')} by {matched.by}, "
            f"{counted(len(rows), 'training row')}"
            + (f" ({held_out} more are held out and stay so)" if held_out else "")
            + (f"; {counted(more, *same)} forgotten too" if more else "")
            + (f"; {repeated} once" if entries.repeated else "")
        )

    @property
    def _name(self) -> str:
        return "indices" if self.exact else "list"

    def _check_exact(self, entries: Entries) -> None:
        """Raise UserError for what would make the forget set larger or smaller than the list."""
        if self.whole_pairs:
            raise UserError(
                "forget=indices forgets exactly the listed rows, and forget.whole_pairs=true adds their twins.\n"
                "Try: forget=list forget.whole_pairs=true"
            )
        if entries.repeated:
            lines = counted(len(entries.repeated), "line repeats", "lines repeat")
            raise UserError(
                f"{entries.what}: {lines} an earlier one: {named([repr(name) for name in entries.repeated])}.\n"
                "Try: each entry once, or forget=list, which counts it once"
            )

    def _entries(self) -> Entries:
        if self.file is None:
            raise UserError(
                f"forget={self._name} needs a file with the examples to forget.\n"
                "Try: forget.file=ids.txt, with one id, file name or position a line"
            )
        return read(self.file, "forget.file")

    def _matched(self, data: Data) -> Matched:
        return match(self._entries(), self.by, data)


def _pairs(rows: Index, data: Data) -> Index:
    """Return the training rows of the same units."""
    return data.train[np.isin(data.unit[data.train], data.unit[rows])]


def _check_single(matched: Matched) -> None:
    """Raise UserError where an entry is several rows, or several entries are one."""
    several = [f"{name!r} ({len(places)} rows)" for name, places in matched.found.items() if len(places) > 1]
    if several:
        raise UserError(
            f"{matched.entries.what}: {len(several)} of {len(matched.found)} entries are the {matched.by} of several "
            f"rows: {named(several)}.\nTry: the rows' positions, or forget=list, which forgets all of them"
        )
    first: dict[int, str] = {}
    same = [
        f"{name!r} ({first[place]!r})"
        for name, (place,) in matched.found.items()
        if first.setdefault(place, name) != name
    ]
    if same:
        raise UserError(
            f"{matched.entries.what}: {len(same)} of {len(matched.found)} entries are the same row as another: "
            f"{named(same)}.\nTry: each row once"
        )


def _not_trained(entries: Entries, parts: dict[str, str]) -> UserError:
    shown = named([f"{name!r} ({part})" for name, part in parts.items()])
    remedy = "the list without them"
    tested = ""
    if "test" in parts.values():
        tested = " The models of this run never saw the test part, so there is nothing of it to forget."
    if "validation" in parts.values():
        remedy += ", or dataset.validation=0 (images), which trains on all training rows"
    return UserError(
        f"{entries.what}: {len(parts)} of {len(entries.names)} entries are not training rows here: {shown}. "
        f"Only training rows can be forgotten.{tested}\nTry: {remedy}"
    )
