"""LiRA: how much is there to forget? Which training rows can be told from the original's kind of model at all?

Carlini et al.: Membership Inference Attacks From First Principles, IEEE S&P 2022, arXiv:2112.03570, with one Gaussian
per row for models that were trained on it and one for those that were not; memorisation after Feldman, Zhang: What
Neural Networks Memorize and Why, NeurIPS 2020, arXiv:2008.03703, with probabilities in place of 0/1 correctness, which
have a smaller error at few models. The models are those that U-LiRA unlearns, so that both together train them once.

Null: a model that remembers no single row has accuracy and AUC .5 and memorisation 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit

from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evaluations.shadowed import Shadowed
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.likelihood import Attacked, attack
from unlearnbench.selection.memorisation import memorised
from unlearnbench.stages.ensemble import LEFT_OUT
from unlearnbench.stages.shadows import heard
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Lira(Shadowed):
    """Train `models` shadows; attack `targets` rows. `together` models are one stage."""

    headline: ClassVar[tuple[Column, ...]] = ()

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the trainings of the ensemble."""
        return {f"shadows_{number}": stage for number, stage in enumerate(self.design(models, world, "lira").chunks())}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how well targets that the models were trained on are told from those that were left out.

        Of the original, on the targets of forget and of retain: `lira_accuracy`, `lira_auc`, `lira_tpr_fpr_01` and
        `_001` as in U-LiRA, and `memorised`, the mean probability of the label in models trained on a row less that in
        models without it, in [-1, 1], 0 is nothing; `memorised_p95` is that of the row at the 95th percentile.
        """
        design = self.design(found.models, found.world, "lira")
        said = heard(list(found.stages.values()), found.workshop)
        for split in ("forget", "retain"):
            mine = np.isin(design.targets, getattr(found.world.splits, split))
            if not mine.any():
                continue
            out, values = (design.states == LEFT_OUT)[:, mine], said.confidence[:, mine]
            yield from rows("original", split, "lira", attack(values, ~out, out))
            remembered = memorised(expit(values), ~out)
            yield Row("original", split, "memorised", float(remembered.mean()))
            yield Row("original", split, "memorised_p95", float(np.quantile(remembered, 0.95)))


def rows(role: str, split: str, name: str, found: Attacked) -> Iterator[Row]:
    """Yield an attack's numbers as rows."""
    yield Row(role, split, f"{name}_accuracy", found.accuracy)
    yield Row(role, split, f"{name}_accuracy_p95", float(np.quantile(found.by_example, 0.95)))
    yield Row(role, split, f"{name}_auc", found.auc)
    for rate, value in found.tpr.items():
        yield Row(role, split, f"{name}_tpr_{rate}", value)
