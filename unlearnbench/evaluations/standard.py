"""Standard: every metric of the catalogue on the scores of the three roles, with gaps and the noise floor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unlearnbench.evaluations.evaluation import Column, Found, Models
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics import catalogue
from unlearnbench.metrics.measure import Row, Values, measure
from unlearnbench.metrics.unreferenced import unreferenced
from unlearnbench.request import plugins
from unlearnbench.stages.incompetent import incompetents
from unlearnbench.stages.score import Score
from unlearnbench.stages.world import World

COMPARED = ("forget", "test_forget")
"""The splits on which ZRF asks networks that know nothing."""


@dataclass(frozen=True, kw_only=True)
class Standard:
    """Score retain, forget and test; compare with the retrained models, or without any with held-out rows."""

    headline: ClassVar[tuple[Column, ...]] = (
        Column("accuracy", "retain"), Column("accuracy", "forget"), Column("accuracy", "test"),
        Column("js_to_retrained", "forget"), Column("gap_mia_confidence", "forget"),
    )  # fmt: skip
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (
        Column("accuracy", "retain"), Column("accuracy", "forget"), Column("accuracy", "test"),
        Column("gap_held_out_accuracy", "forget"), Column("mia_auc", "forget"), Column("js_to_original", "retain"),
    )  # fmt: skip

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the scores of the incompetent networks on what is to be forgotten; none without answer options."""
        if not world.bench.info.has_options:
            return {}
        splits = dict(world.scored())
        test_forget = world.parts().get("test_forget")
        if test_forget is not None:
            splits["test_forget"] = splits["test"][np.isin(splits["test"], test_forget)]
        return {
            f"{model.role}_{split}": Score(world.bench, model, split, splits[split])
            for model in incompetents(world.bench, world.seed)
            for split in COMPARED
            if split in splits and len(splits[split])
        }

    def measure(self, found: Found) -> Iterable[Row]:
        """Return every metric for every role and split, with gaps."""
        networks = incompetents(found.world.bench, found.world.seed) if found.stages else ()
        incompetent = tuple(
            {
                split: found.read(f"{model.role}_{split}")
                for split in COMPARED
                if f"{model.role}_{split}" in found.stages
            }
            for model in networks
        )
        original, unlearned = found.scores["original"], found.scores["unlearned"]
        whole_class, seed, metrics = found.whole_class, found.world.eval_seed, catalogue(plugins.modules())
        shared = [found.scorings[role] for role in found.scorings if role != "unlearned"]
        scored = (stage.key for by_name in (*shared, found.stages) for stage in by_name.values())
        keys = (digest(found.world.parts()), *scored)  # the parts of test are cut from its scores

        def once(name: str, compute: Callable[[], Values]) -> Values:
            return found.workshop.once((name, str(seed), str(whole_class), *keys), compute)

        rows = measure(original, found.retrained, unlearned, incompetent, whole_class, seed, metrics, once)
        if found.models.unreferenced:
            rows += list(unreferenced(rows, original, unlearned, whole_class, seed, metrics))
        return rows
