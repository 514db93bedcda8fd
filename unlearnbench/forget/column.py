"""Forget the rows with a given value in a column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.contracts import Data, DataInfo
from unlearnbench.data.sampling import first_units
from unlearnbench.errors import UserError, nearest
from unlearnbench.forget.splits import Splits, drawn_how, parted, split, too_few
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import AnySeed, Label


@dataclass(frozen=True, kw_only=True)
class Column:
    """The training rows with a value in a column, or a random fraction of them; the test set is split by the value.

    Images have columns where their data set has a table of them, such as the photographer of each. `whole_pairs` draws
    the fraction in whole counterfactual pairs and also forgets each forgotten row's twin, even one with another value,
    so that no twin of a forgotten row is retained.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    column: str
    value: bool | Label | str
    fraction: Annotated[float, Field(gt=0, le=1)]
    seed: AnySeed
    whole_pairs: bool = False
    already: tuple[Path, ...] = ()

    @property
    def whole_class(self) -> bool:
        """Return whether all rows with the value are forgotten, so that the test set is split too."""
        return self.fraction == 1

    def label(self, info: DataInfo) -> str:
        """Return column=value, with the fraction if below 1; raise UserError for an unknown column."""
        if self.column not in info.columns:
            known = ", ".join(info.columns) or "none"
            raise UserError(
                f"forget.column: unknown column {self.column!r}.{nearest(self.column, info.columns)}\n"
                f"The columns are: {known}.\nTry: {self._instead(info)}"
            )
        drawn = self.fraction < 1
        part = f":{self.fraction}" if drawn else ""
        return f"{self.column}={self.value}{part}" + drawn_how(self.whole_pairs, self.seed if drawn else 0)

    def _instead(self, info: DataInfo) -> str:
        if info.forget_sets:
            return f"forget=tofu forget.name={info.forget_sets[-1]}"
        groups = [name for name in info.columns if name not in ("id", "path")] or [*info.columns]
        return f"forget.column={groups[0]}" if groups else "forget=class"

    def split(self, data: Data) -> Splits:
        """Split training and test data by the column.

        Raises UserError if nothing or everything would be forgotten.
        """
        values = data.columns[self.column]
        known = sorted(set(values[data.train].tolist()), key=_in_order)
        value = next((one for one in known if self._is_meant(one)), None)
        if value is None or len(known) < 2:
            texts = [str(one) for one in known if str(one)]
            shown = ", ".join(texts[:12]) + (", ..." if len(texts) > 12 else "")
            raise UserError(
                f"forget.value={self.value} would forget {'nothing' if value is None else 'everything'}: "
                f"the training rows have {self.column}: {shown}.\nTry: "
                + ("one of these values" if len(known) > 1 else "another forget.column, or forget=random")
            )
        _, goes = parted(data.train, values == value)
        if self.fraction < 1:
            order = np.random.default_rng(stage_seed(self.seed, "forget", "column")).permutation(goes)
            count = self._count(len(goes))
            goes = np.sort(first_units(order, data.unit, count) if self.whole_pairs else order[:count])
            if not len(goes):
                raise too_few(count)
        if self.whole_pairs:
            goes = data.train[np.isin(data.unit[data.train], data.unit[goes])]
            if len(goes) > len(data.train) - 2:
                raise UserError(
                    f"forget.value={self.value} and the twins of its rows would forget everything.\n"
                    "Try: forget.whole_pairs=false, or a smaller forget.fraction"
                )
        return split(data, np.setdiff1d(data.train, goes), goes, values == value, steered=self.fraction == 1)

    def _is_meant(self, one: object) -> bool:
        """Return whether a column's value is the one asked for; a table may hold it as text, such as "True"."""
        if isinstance(self.value, bool) and isinstance(one, str):
            return one.lower() == str(self.value).lower()
        return one == self.value or str(one) == str(self.value)

    def _count(self, rows: int) -> int:
        """Return how many rows with the value to forget; raise UserError for none."""
        count = round(self.fraction * rows)
        if count < 1:
            enough = min(max(math.ceil(100 / rows) / 100, 0.1), 1.0)
            raise UserError(
                f"forget.fraction={self.fraction} of the {rows} training rows with {self.column}={self.value} is "
                f"less than one row.\nTry: forget.fraction={enough:g}"
            )
        return count


def _in_order(value: object) -> tuple[str, float, str]:
    """Return what to sort a value by: numbers as numbers, also where a table holds them as text."""
    text = str(value)
    if text.isdecimal() or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return "", float(text), text
    return str(type(value)), 0.0, text
