"""Confused: rows of two classes whose labels were swapped, of which a share is known and to be forgotten.

Goel et al.: Corrective Machine Unlearning, TMLR 2024, arXiv:2402.14015; the test is that of the interclass confusion of
Goel et al.: Towards Adversarial Evaluations for Inexact Machine Unlearning, arXiv:2201.06640.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.contracts import Data, DataInfo, Index
from unlearnbench.errors import UserError
from unlearnbench.forget.classes import number_of
from unlearnbench.forget.manipulated import Manipulated, check_known, draw, manipulated, possible, split_by_known
from unlearnbench.forget.splits import Splits, drawn_how
from unlearnbench.ranges import AnySeed, Label


@dataclass(frozen=True, kw_only=True)
class Confused:
    """`count` training rows of two classes with swapped labels, half of each; a share `known` is the forget set.

    Of text, classes are the columns of answer options: rows whose answer is one of the two, and that have both.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    classes: tuple[Label | str, ...]
    count: Annotated[int, Field(ge=2, le=10**9)]
    known: Annotated[float, Field(gt=0, le=1)]
    seed: AnySeed

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return confused:<class>+<class>:<count>:known=<share>; raise UserError for what does not fit the data."""
        check_known(self.count, self.known)
        if self.count % 2:
            raise UserError(
                f"forget.count={self.count}: half of the rows are of each class, so it must be even.\n"
                f"Try: forget.count={self.count + 1}"
            )
        names = "+".join(info.classes[number] for number in self._classes(info))
        return f"confused:{names}:{self.count}:known={self.known:g}" + drawn_how(False, self.seed)

    def split(self, data: Data) -> Splits:
        """Divide the training data of the clean data set by what is known."""
        return split_by_known(data, self._rows(data), self.known, self.seed)

    def manipulated(self, data: Data) -> Manipulated:
        """Return the data set with swapped labels, which models are trained on."""
        wanted = np.full(len(data.unit), -1)
        everywhere = np.concatenate([self._rows(data), data.test])
        for label, other in self._both_ways(data.info):
            rows = everywhere[data.labels[everywhere] == label]
            wanted[rows[data.choices(rows)[:, other]]] = other
        return manipulated("confused", data, self._rows(data), wanted)

    def _classes(self, info: DataInfo) -> tuple[int, ...]:
        if not info.has_options:
            raise UserError(
                "forget=confused swaps two labels, and the rows of this data set have no answer options.\n"
                "Try: dataset=clinical_notes forget=confused, or forget=random"
            )
        remedy = f"'forget.classes=[{info.classes[0]},{info.classes[1]}]'"
        numbers = sorted({number_of(one, info.classes, "classes", remedy) for one in self.classes})
        if len(numbers) != 2:
            raise UserError(f"forget.classes has {len(numbers)} different classes, expected two.\nTry: {remedy}")
        return tuple(numbers)

    def _both_ways(self, info: DataInfo) -> tuple[tuple[int, int], tuple[int, int]]:
        first, second = self._classes(info)
        return (first, second), (second, first)

    def _rows(self, data: Data) -> Index:
        drawn = []
        for label, other in self._both_ways(data.info):
            rows = possible(data, other)
            rows = rows[data.labels[rows] == label]
            if len(rows) < self.count // 2:
                raise UserError(
                    f"forget.count={self.count} takes {self.count // 2} training rows of each class, and only "
                    f"{len(rows)} of {data.info.classes[label]} could be labelled {data.info.classes[other]}.\n"
                    f"Try: forget.count={max(2 * (len(rows) // 2), 2)}, or other forget.classes"
                )
            drawn.append(draw(rows, self.count // 2, self.seed, "confused", label))
        return np.sort(np.concatenate(drawn))
