"""Forget sets that a data set comes with, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unlearnbench.contracts import Data, DataInfo
from unlearnbench.errors import UserError, nearest
from unlearnbench.forget.splits import Splits


@dataclass(frozen=True, kw_only=True)
class Given:
    """A forget set that the data set comes with, by name, scored on the rows that its authors ask."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    name: str

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return the set's name; raise UserError where the data set has no such."""
        if not info.forget_sets:
            raise UserError(
                f"forget.name={self.name}: this data set comes with no forget sets; TOFU's official folder does.\n"
                "Try: forget=random, or forget=task forget.value=1 for TOFU's continual variant"
            )
        if self.name not in info.forget_sets:
            raise UserError(
                f"forget.name={self.name} is no forget set of this data set.{nearest(self.name, info.forget_sets)}\n"
                f"It has: {', '.join(info.forget_sets)}.\nTry: forget.name={info.forget_sets[-1]}"
            )
        return self.name

    def split(self, data: Data) -> Splits:
        """Take the set's rows out of the training data; raise UserError where a limit left too few to forget."""
        one = data.given[self.name]
        retain = np.setdiff1d(data.train, one.forget)
        if min(len(one.forget), len(one.asked), len(retain), len(one.retain_asked)) < 2:
            raise UserError(
                f"dataset.limit leaves {len(one.forget)} rows of {self.name} among {len(data.train)}, and of those "
                f"that are asked of retain {len(one.retain_asked)}: two are needed of both.\nTry: dataset.limit=null"
            )
        return Splits(
            retain, one.forget, data.validation, data.test, retain_asked=one.retain_asked, forget_asked=one.asked
        )
