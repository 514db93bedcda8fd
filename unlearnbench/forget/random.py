"""Forget a random part of the training data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.contracts import Data, DataInfo
from unlearnbench.data.sampling import first_units
from unlearnbench.errors import UserError
from unlearnbench.forget.splits import Splits, drawn_how, too_few
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import AnySeed


@dataclass(frozen=True, kw_only=True)
class Random:
    """A random part of the training data, given as a fraction or a number of examples.

    `whole_pairs` forgets counterfactual twins together, so that none is left in retain; the size is then an upper
    limit. It changes nothing for data without pairs, such as images.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    fraction: Annotated[float, Field(gt=0, lt=1)] | None
    count: Annotated[int, Field(ge=2, le=10**9)] | None
    seed: AnySeed
    whole_pairs: bool = False
    already: tuple[Path, ...] = ()

    whole_class = False

    def label(self, info: DataInfo) -> str:
        """Return random:<fraction or count>.

        Raises UserError if it does not fit the number of training examples.
        """
        if (self.fraction is None) == (self.count is None):
            raise UserError(
                "forget=random takes either a fraction or a count.\nTry: forget.fraction=0.1, or "
                "forget.fraction=null forget.count=100"
            )
        trained = info.train - info.held_out
        if self._count(trained) < 2:
            raise UserError(
                f"forget.fraction={self.fraction} of {trained} training examples is an empty forget set.\n"
                f"Try: forget.fraction=0.1"
            )
        self._check_rest(trained)
        return f"random:{self.count or self.fraction}" + drawn_how(self.whole_pairs, self.seed)

    def split(self, data: Data) -> Splits:
        """Draw the forget set with its own seed, independent of the run's seed."""
        self._check_rest(len(data.train))
        count = max(self._count(len(data.train)), 2)
        order = np.random.default_rng(stage_seed(self.seed, "forget", "random")).permutation(data.train)
        forget = np.sort(first_units(order, data.unit, count) if self.whole_pairs else order[:count])
        if not len(forget):
            raise too_few(count)
        return Splits(np.setdiff1d(data.train, forget), forget, data.validation, data.test)

    def _count(self, trained: int) -> int:
        return self.count or round((self.fraction or 0) * trained)

    def _check_rest(self, trained: int) -> None:
        """Raise UserError if fewer than two training examples would be retained."""
        if self._count(trained) > trained - 2:
            asked = f"count={self.count}" if self.count else f"fraction={self.fraction}"
            instead = f"count={max(trained // 10, 2)}" if self.count else "fraction=0.1"
            raise UserError(
                f"forget.{asked} forgets everything: there are {trained} training examples without the validation "
                f"part.\nTry: forget.{instead}"
            )
