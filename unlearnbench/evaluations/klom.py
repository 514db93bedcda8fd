"""KLoM: over seeds, is each row's margin distributed as that of retrained models?

Georgiev et al. 2024, Attribute-to-Delete, arXiv:2410.23232; Easy Data Unlearning Bench 2026, arXiv:2602.16400.

    KLoM(x) = KL(margins of x over unlearned models || margins of x over retrained models)

A report computes it (report/over_seeds.py) from the runs of a sweep over seeds, and prints the null from splitting the
retrained models beside it (across/cell.py). metrics/klom.py says where the published code differs, and why ours does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from unlearnbench.across.klom import KlomAcross
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.graph.stage import Stage
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Klom(KlomAcross):
    """Compare margins over seeds; a single run adds nothing, and a report of several has the numbers."""

    references: ClassVar[int] = 1
    headline: ClassVar[tuple[Column, ...]] = ()

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the scores of the three roles are enough."""
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return none."""
        return ()
