"""KLoM over the seeds of a sweep, by split; metrics/klom.py has its formulas and sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.across.cell import Models, Values
from unlearnbench.evidence import Floats
from unlearnbench.metrics.klom import klom, klom_gaussian
from unlearnbench.metrics.measure import Column

ENOUGH = 100
"""From so many models of each kind on, as in the papers, histograms are fine enough for a headline."""
SPLITS = ("forget", "retain", "test")


@dataclass(frozen=True, kw_only=True)
class KlomAcross:
    """Compare each row's margins over unlearned models with those over retrained ones.

    Every number is in [0, 11.5] nats, and lower is better; perfect is the null, not 0. Each is a mean over the rows of
    a split, `_p95` the 95th percentile, which the papers report. `klom` is KL(unlearned || retrained), `klom_reverse`
    the other direction, `klom_published` without the largest margin, as in Easy Data Unlearning Bench. Below 100 models
    of each kind read `klom_gaussian`: histograms of few models are mostly noise.
    """

    bins: Annotated[int, Field(ge=2, le=10_000)]
    fewest: Annotated[int, Field(ge=2, le=100_000)]
    draws: Annotated[int, Field(ge=2, le=10_000)]
    higher: ClassVar[frozenset[str]] = frozenset()

    def numbers(self, unlearned: Models, retrained: Models) -> Values:
        """Return mean and 95th percentile over the rows of each split."""
        found: dict[tuple[str, str], float] = {}
        for split in SPLITS:
            for metric, values in self._by_row(unlearned.confidence[split], retrained.confidence[split]):
                found[split, metric] = float(values.mean())
                found[split, f"{metric}_p95"] = float(np.percentile(values, 95))
        return found

    def columns(self, models: int) -> Sequence[Column]:
        """Return mean and 95th percentile on each split: of Gaussians, or with enough models of histograms."""
        name = "klom" if models >= ENOUGH else "klom_gaussian"
        return [Column(metric, split) for split in SPLITS for metric in (name, f"{name}_p95")]

    def _by_row(self, one: Floats, other: Floats) -> Iterator[tuple[str, Floats]]:
        """Yield each metric with its value for each row."""
        yield "klom_gaussian", klom_gaussian(one, other)
        yield "klom_gaussian_reverse", klom_gaussian(one, other, "reverse")
        yield "klom", klom(one, other, self.bins)
        yield "klom_reverse", klom(one, other, self.bins, "reverse")
        yield "klom_published", klom(one, other, self.bins, published=True)
