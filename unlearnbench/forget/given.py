"""Forget one of the forget sets that come with a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unlearnbench.contracts import Data, DataInfo
from unlearnbench.errors import UserError, nearest
from unlearnbench.forget.splits import Splits


@dataclass(frozen=True, kw_only=True)
class Given:
    """A forget set that comes with the data set, scored on the questions chosen by its authors."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    name: str

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return the set's name; raise UserError if the data set does not have it."""
        if not info.forget_sets:
            raise UserError(
                f"forget.name={self.name}: this data set comes without forget sets; TOFU's official folder has them.\n"
                "Try: forget=random, or forget=task forget.value=1 for TOFU's continual variant"
            )
        if self.name not in info.forget_sets:
            raise UserError(
                f"forget.name: unknown forget set {self.name!r}.{nearest(self.name, info.forget_sets)}\n"
                f"The forget sets are: {', '.join(info.forget_sets)}.\nTry: forget.name={info.forget_sets[-1]}"
            )
        return self.name

    def split(self, data: Data) -> Splits:
        """Take the set's rows out of the training data; raise UserError if a limit leaves too few."""
        one = data.given[self.name]
        retain = np.setdiff1d(data.train, one.forget)
        if min(len(one.forget), len(one.asked), len(retain), len(one.retain_asked)) < 2:
            raise UserError(
                f"dataset.limit leaves {len(one.forget)} of {len(data.train)} rows in {self.name}, and "
                f"{len(one.retain_asked)} retain rows to score: at least two of each are needed.\n"
                "Try: dataset.limit=null"
            )
        return Splits(
            retain, one.forget, data.validation, data.test, retain_asked=one.retain_asked, forget_asked=one.asked
        )
