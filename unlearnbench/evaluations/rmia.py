"""RMIA: is a forget row still more likely under the model than under models that never saw it?

Zarifzadeh, Liu, Shokri: Low-Cost High-Power Membership Inference Attacks, ICML 2024, arXiv:2312.03262. With p_t the
probability of the label under the attacked model and p_k under the references,

    p(x) = ((1 + a) mean_k p_k(x) + 1 - a) / 2
    score(x) = share of the population z with [p_t(x) / p(x)] / [p_t(z) / p(z)] > gamma

Members are the forget rows, non-members the held-out rows of the same classes, which are also the population. The
references are the retrained models, so that nothing is trained. Each retrained model is attacked with the others as
references: that is the target value, and the unlearned model is attacked with the same sets (docs/decisions/0040).

Differences from the authors' code (github.com/privacytrustlab/ml_privacy_meter, modules/mia/attacks/rmia.py): their
references are those of an ensemble that did not have x, found by setting the others to 0, sorting and taking the first
k; zeros enter where fewer than k did not have x. Here no reference has x. A held-out row is not compared with itself.
`a` is a setting; they can tune it by an attack on another model. For fixed references the score rises with
p_t(x) / p(x), so gamma matters for ties only.

Null: auc .5 where forget and held-out rows are alike. A gap of 0 in any case: the unlearned model is then one more
retrained model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field

from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, check_held_out
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.attack import confidence
from unlearnbench.metrics.referenced import rmia
from unlearnbench.metrics.told_apart import leave_one_out
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Rmia:
    """Tell forget rows from held-out rows by likelihood ratios to retrained models."""

    gamma: Annotated[float, Field(ge=1, le=1e6)]
    a: Annotated[float, Field(ge=0, le=1)]
    references: ClassVar[int] = 2
    headline: ClassVar[tuple[Column, ...]] = (Column("rmia_auc", "forget"), Column("gap_rmia_auc", "forget"))

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the stored scores are enough."""
        check_held_out("rmia", world)
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how well the score tells forget rows from held-out rows, for each role.

        `rmia_auc`, and `rmia_tpr_fpr_01` and `rmia_tpr_fpr_001` where there are 100 and 1,000 held-out
        rows: in [0, 1], and higher says that more is remembered. Perfect is the retrained models' value: `gap_...` of
        0, in [-1, 1]. Above it the model still knows forget rows, below it they stand out as less likely than they
        should be. `floor_...`, from reference.count=3, is the mean size of a retrained model's gap.
        """
        if not found.retrained:
            return ()
        original, unlearned = found.scores["original"], found.scores["unlearned"]
        attack = partial(rmia, a=self.a, gamma=self.gamma)
        return leave_one_out("rmia", attack, confidence, original, found.retrained, unlearned, found.whole_class)
