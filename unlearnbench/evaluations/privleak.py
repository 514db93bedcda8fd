"""Privleak: by how many percent is the membership of forget rows easier, or harder, to tell than after retraining?

Shi et al.: MUSE: Machine Unlearning Six-Way Evaluation for Language Models, ICLR 2025, arXiv:2407.06460, section 3.2.

    privleak = (AUC(model) - AUC(retrained)) / AUC(retrained) * 100

where AUC is the chance that a held-out row has a higher Min-K% score (`eval=min_k`, share .4) than a forget row. So the
sign is MUSE's: below 0 the model still knows forget rows, down to -100 (under-unlearning); above 0 they are less likely
than they should be (over-unlearning).

The AUC is the one of the authors' code (github.com/swj0419/muse_bench, metrics/privleak.py, forget_holdout_Min-40%),
which calls forget rows non-members; open-unlearning writes the same as 1 - AUC. Differences: AUC(retrained) is measured
in the run, the mean of its retrained models; theirs are constants for two models. The tokens are those of the answer
that is trained on, without the end of its turn. At least one token counts; theirs are none where .4 * tokens < 1.
open-unlearning adds 1e-10 to an AUC(retrained) of 0; here there is no value then.

Null: 0, and with two or more retrained models their own values, each against the mean of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from unlearnbench.contracts import Kind
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, check_held_out
from unlearnbench.evidence import BySplit
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.attack import area_under_curve
from unlearnbench.metrics.tokens import min_k, privleak
from unlearnbench.metrics.told_apart import sides
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Privleak:
    """Compare how well Min-K% tells forget rows from held-out rows with a retrained model, in percent, as MUSE does."""

    share: Annotated[float, Field(gt=0, le=1)]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    references: ClassVar[int] = 1
    headline: ClassVar[tuple[Column, ...]] = (Column("privleak", "forget"),)

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the stored scores are enough."""
        check_held_out("privleak", world)
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return `privleak` of each role on forget, in percent: at least -100, and 0 is perfect.

        Of several retrained models it is the mean of each against the others, and `floor_privleak` is the mean size.
        """
        areas = [self._area(scores, found.whole_class) for scores in found.retrained]
        for role in ("original", "unlearned") if areas else ():
            value = privleak(self._area(found.scores[role], found.whole_class), fmean(areas))
            if value is not None:
                yield Row(role, "forget", "privleak", value)
        others = ([*areas[:place], *areas[place + 1 :]] for place in range(len(areas)))
        placed = [privleak(area, fmean(rest)) for area, rest in zip(areas, others, strict=True) if rest]
        values = [value for value in placed if value is not None]
        if values:
            yield Row("retrained", "forget", "privleak", fmean(values))
            yield Row("retrained", "forget", "floor_privleak", fmean(map(abs, values)))

    def _area(self, scores: BySplit, whole_class: bool) -> float:
        """Return the chance that a held-out row scores above a forget row."""
        members, others = sides(lambda one: min_k(one, self.share), scores, whole_class)
        return area_under_curve(others, members)
