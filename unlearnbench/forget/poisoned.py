"""Poisoned: rows with a trigger and a wrong label, of which a share is known and to be forgotten.

Goel et al.: Corrective Machine Unlearning, TMLR 2024, arXiv:2402.14015; the attack is that of Gu et al.: BadNets,
arXiv:1708.06733. Authors' code: github.com/drimpossible/corrective-unlearning-bench, src/datasets.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.contracts import Data, DataInfo, Index, Trigger
from unlearnbench.data.marks import name_of
from unlearnbench.errors import UserError
from unlearnbench.forget.classes import number_of
from unlearnbench.forget.manipulated import Manipulated, check_known, draw, manipulated, possible, split_by_known
from unlearnbench.forget.splits import Splits, drawn_how
from unlearnbench.ranges import AnySeed, Label

Side = Annotated[int, Field(ge=1, le=512)]


@dataclass(frozen=True, kw_only=True)
class Poisoned:
    """`count` training rows with a trigger and the label `target`; a share `known` of them is the forget set.

    The rows are drawn from those of other labels. Of images the trigger is a white patch of `patch` x `patch` pixels in
    the lower right corner, of text the word `trigger` before the question.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    count: Annotated[int, Field(ge=2, le=10**9)]
    known: Annotated[float, Field(gt=0, le=1)]
    target: Label | str
    patch: Side
    trigger: str
    seed: AnySeed

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return poisoned:<count>:known=<share>:<target>:<trigger>; raise UserError for what does not fit the data."""
        target = self._target(info)
        check_known(self.count, self.known)
        name, mark = info.classes[target], name_of(self._trigger, info)
        return f"poisoned:{self.count}:known={self.known:g}:{name}:{mark}" + drawn_how(False, self.seed)

    def split(self, data: Data) -> Splits:
        """Divide the training data of the clean data set by what is known."""
        return split_by_known(data, self._rows(data), self.known, self.seed)

    def manipulated(self, data: Data) -> Manipulated:
        """Return the data set with poisoned rows, which models are trained on."""
        wanted = np.full(len(data.unit), -1)
        rows = self._rows(data)
        target = self._target(data.info)
        wanted[rows] = target
        wanted[data.test[data.choices(data.test)[:, target]]] = target
        return manipulated("triggered", data, rows, wanted, self._trigger)

    @property
    def _trigger(self) -> Trigger:
        return Trigger(side=self.patch, word=self.trigger)

    def _target(self, info: DataInfo) -> int:
        if not info.has_options:
            raise UserError(
                "forget=poisoned gives rows a wrong label, and the rows of this data set have no answer options.\n"
                "Try: dataset=clinical_notes forget=poisoned, or forget=random"
            )
        return number_of(self.target, info.classes, "target", "forget.target=0")

    def _rows(self, data: Data) -> Index:
        target = self._target(data.info)
        rows = possible(data, target)
        if len(rows) < self.count:
            raise UserError(
                f"forget.count={self.count}: only {len(rows)} training rows can be given the label "
                f"{data.info.classes[target]} and have another.\n"
                f"Try: forget.count={max(len(rows) // 2, 2)}, or a larger dataset.limit"
            )
        return draw(rows, self.count, self.seed, "poisoned")
