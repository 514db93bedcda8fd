"""U-LiRA: can an attacker who knows the method tell rows that were forgotten from rows that were never there?

Hayes, Shumailov, Triantafillou, Khalifa, Papernot: Inexact Unlearning Needs More Careful Evaluations to Avoid a False
Sense of Privacy, 2024, arXiv:2403.01218, algorithm 1. Many models are trained, and the run's method makes each forget
other rows. For a row x, a Gaussian is fitted to log p_y - log(1 - p_y) of the models that forgot x, and one to that of
the unlearned models that never saw x. The attack calls a model by the likelier of the two, and the attacked model is
left out of both. The same is asked of rows that the models retain: unlearning can make these easier to tell.

The models are those of the balanced design in stages/ensemble.py, where the paper draws random halves. U-LiRA asks of
the method, at the rows of this run, what it does with a request of a third of the targets; it does not look at the
run's own unlearned model.

Null: exact unlearning has accuracy and AUC .5, and true-positive rates equal to the false-positive rates.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evaluations.lira import rows
from unlearnbench.evaluations.shadowed import Shadowed
from unlearnbench.evidence import Floats
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.klom import klom_gaussian
from unlearnbench.metrics.likelihood import attack, published
from unlearnbench.randomness import stage_seed
from unlearnbench.stages.ensemble import FORGOTTEN, LEFT_OUT, RETAINED
from unlearnbench.stages.shadows import heard
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.stages.world import World

log = logging.getLogger("unlearnbench")
OF_EACH = 3
"""The fewest models of each kind: one is attacked, two are left."""
DRAWS = 20
"""How often halves are drawn for KLoM."""


@dataclass(frozen=True, kw_only=True)
class Ulira(Shadowed):
    """Train `models` shadows and unlearn each; attack `targets` rows. `together` models are one stage."""

    headline: ClassVar[tuple[Column, ...]] = (Column("ulira_accuracy", "forget"), Column("ulira_tpr_fpr_01", "forget"))

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the trainings and unlearnings of the ensemble; none, with a warning, where the method cannot do it."""
        design, unlearned = self.design(models, world, "ulira"), models.unlearned
        assert isinstance(unlearned, Unlearn)
        why = design.why_not(unlearned.method)
        if why is not None:
            log.warning("eval=ulira has no rows: each of its models forgets rows of all classes, and %s", why)
            return {}
        trained = {f"shadows_{number}": stage for number, stage in enumerate(design.chunks())}
        forgotten = {f"forgotten_{number}": one for number, one in enumerate(design.unlearned(unlearned.method))}
        return {**trained, **forgotten}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how well forgotten, and retained, targets are told from those that were left out.

        Of the unlearned model, on forget (targets that were forgotten) and retain (targets that were not):
        `ulira_accuracy`, mean of true-positive and true-negative rate, in [0, 1], .5 is perfect; `ulira_auc`, the same;
        `ulira_tpr_fpr_01` and `_001`, the true-positive rate where 1 % or .1 % of the others are called wrongly, in
        [0, 1], .01 or .001 is perfect; `ulira_accuracy_p95`, the accuracy on the row at the 95th percentile: its null
        is above .5, since a row has only two thirds as many observations as there are models. On forget also
        `ulira_published`, DeepUnlearn's variant on 0/1 correctness, for comparison with its tables, and `ulira_klom`,
        the mean over rows of the Gaussian KLoM of models that forgot a row from models that never saw it, in [0, 11.5]
        nats; perfect is `ulira_klom_null`, that of two halves of the latter. `ulira_diverged` counts the models that
        diverged, which are left out.
        """
        if not found.stages:
            return
        design = self.design(found.models, found.world, "ulira")
        said = heard([stage for name, stage in found.stages.items() if name.startswith("forgotten")], found.workshop)
        finite = np.atleast_1d(~np.isnan(said.confidence).any(axis=1))
        values, states, diverged = said.confidence[finite], design.states[finite], int((~finite).sum())
        if diverged:
            yield Row("unlearned", "forget", "ulira_diverged", float(diverged))
        if min((states == state).sum(axis=0).min() for state in (LEFT_OUT, RETAINED, FORGOTTEN)) < OF_EACH:
            log.warning("eval=ulira has no other rows: of %d models %d diverged", len(design.states), diverged)
            return
        others = states == LEFT_OUT
        for split, state in (("forget", FORGOTTEN), ("retain", RETAINED)):
            yield from rows("unlearned", split, "ulira", attack(values, states == state, others))
        yield from self._klom(values, states, stage_seed(found.world.eval_seed, "ulira_klom"))
        value = published(said.right[finite], states == FORGOTTEN, others)
        if np.isfinite(value):
            yield Row("unlearned", "forget", "ulira_published", value)

    def _klom(self, values: Floats, states: NDArray[np.int8], seed: int) -> Iterator[Row]:
        """Yield KLoM and its null, means over draws: each compares halves of what there is of a row."""
        generator = np.random.default_rng(seed)
        each = int(min((states == state).sum(axis=0).min() for state in (FORGOTTEN, LEFT_OUT)))
        forgotten, left_out = (_gathered(values, states == state, each) for state in (FORGOTTEN, LEFT_OUT))
        half, found, nulls = each // 2, [], []
        if half < 2:
            return
        for _ in range(DRAWS):
            mine, others = generator.permuted(forgotten, axis=0), generator.permuted(left_out, axis=0)
            found.append(klom_gaussian(mine[:half], others[:half]).mean())
            nulls.append(klom_gaussian(others[half : 2 * half], others[:half]).mean())
        yield Row("unlearned", "forget", "ulira_klom", float(np.mean(found)))
        yield Row("unlearned", "forget", "ulira_klom_null", float(np.mean(nulls)))


def _gathered(values: Floats, state: NDArray[np.bool_], count: int) -> Floats:
    """Return `count` values of each row's models in a state, (count, n), from all models' values (m, n)."""
    first = np.argsort(~state, axis=0, kind="stable")[:count]
    found: Floats = np.take_along_axis(values, first, axis=0)
    return found
