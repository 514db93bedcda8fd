"""RMIA: is a forget row still more likely under the model than under models that never saw it?

Zarifzadeh, Liu, Shokri: Low-Cost High-Power Membership Inference Attacks, ICML 2024, arXiv:2312.03262. With p_t the
probability of the label under the attacked model and p_k under the references,

    p(x) = ((1 + a) mean_k p_k(x) + 1 - a) / 2
    score(x) = share of the population z with [p_t(x) / p(x)] / [p_t(z) / p(z)] > gamma

Members are the forget rows, non-members the held-out rows of the same classes, which are also the population. Nothing
is trained for it. Which references a number used is in result.json, under evaluations.rmia:

- `against=ensemble`: the shadow models of eval=lira or eval=ulira that left the row out, a third of them, before they
  are unlearned. Members are the forget rows among the ensemble's targets. A held-out row was seen by no shadow model;
  it gets the references of a target, so that both kinds of rows have as many. No attacked model is a reference.
- `against=retrained`: the retrained models. Each of them is attacked with the others as references: that is the target
  value, and the unlearned model is attacked with the same sets (docs/decisions/0040).
- `against=auto`: the ensemble where the run has one, else the retrained models.

Differences from the authors' code (github.com/privacytrustlab/ml_privacy_meter, modules/mia/attacks/rmia.py): they find
the models that did not have x by setting the others to 0, sorting and taking the first k; zeros enter where fewer than
k did not have x. Here no reference has x. A held-out row is not compared with itself. `a` is a setting; they can tune
it by an attack on another model. For fixed references the score rises with p_t(x) / p(x), so gamma matters for ties
only.

Null: auc .5 where forget and held-out rows are alike. A gap of 0 in any case: the unlearned model is then one more
retrained model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy.special import expit

from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Evaluation, Found, Models, Row, check_held_out
from unlearnbench.evaluations.shadowed import Shadowed
from unlearnbench.evidence import BySplit, Floats, Integers
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.attack import label_probability
from unlearnbench.metrics.likelihood import Mask
from unlearnbench.metrics.membership import held_out_like
from unlearnbench.metrics.referenced import rmia
from unlearnbench.metrics.told_apart import Sides, Told, by_model, leave_one_out, sides, told_apart
from unlearnbench.stages.ensemble import LEFT_OUT, Ensemble
from unlearnbench.stages.shadows import heard, of_held_out
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Rmia:
    """Tell forget rows from held-out rows by likelihood ratios to models that never saw them."""

    gamma: Annotated[float, Field(ge=1, le=1e6)]
    a: Annotated[float, Field(ge=0, le=1)]
    against: Literal["auto", "ensemble", "retrained"]
    references: ClassVar[int] = 2
    headline: ClassVar[tuple[Column, ...]] = (Column("rmia_auc", "forget"), Column("gap_rmia_auc", "forget"))

    def beside(self, others: Iterable[Evaluation]) -> Evaluation:
        """Return it with the references that `against` means in a run with these evaluations."""
        ensembles = [one for one in others if isinstance(one, Shadowed)]
        if self.against == "ensemble" and not ensembles:
            raise UserError(
                "eval.rmia.against=ensemble uses the models of eval=lira or eval=ulira, and the run has neither.\n"
                "Try: 'eval=[standard,lira,rmia]'"
            )
        if self.against == "retrained" or not ensembles:
            return replace(self, against="retrained")
        of = max(ensembles, key=lambda one: one.models)
        ensemble = Shadowed(models=of.models, targets=of.targets, together=of.together)
        return RmiaOfEnsemble(gamma=self.gamma, a=self.a, ensemble=ensemble)

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the stored scores are enough."""
        check_held_out("rmia", world)
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how well the score tells forget rows from held-out rows, for each role.

        `rmia_auc`, and `rmia_tpr_fpr_01` and `rmia_tpr_fpr_001` where there are 100 and 1,000 held-out
        rows: in [0, 1], and higher says that more is remembered. Perfect is the retrained models' value: `gap_...` of
        0, in [-1, 1]. Above it the model still knows forget rows, below it they stand out as less likely than they
        should be. `floor_...` is the mean size of a retrained model's gap, from reference.count=3; with an ensemble,
        how far two of them are apart, from reference.count=2.
        """
        if not found.retrained:
            return ()
        original, unlearned = found.scores["original"], found.scores["unlearned"]
        attack = partial(rmia, a=self.a, gamma=self.gamma)
        return leave_one_out("rmia", attack, label_probability, original, found.retrained, unlearned, found.whole_class)

    def details(self, found: Found) -> dict[str, object]:
        """Return which references the numbers used, and how many of them for each attack."""
        return {"against": "retrained", "references": len(found.retrained) - 1}


@dataclass(frozen=True, kw_only=True)
class RmiaOfEnsemble:
    """RMIA with the models of a shadow ensemble as references: of each row, those that left it out."""

    gamma: float
    a: float
    ensemble: Shadowed
    headline: ClassVar[tuple[Column, ...]] = Rmia.headline
    headline_unreferenced: ClassVar[tuple[Column, ...]] = Rmia.headline[:1]

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the trainings of the ensemble, which are the same stages as those of lira and ulira."""
        check_held_out("rmia", world)
        design = self.ensemble.design(models, world, "rmia")
        if np.isin(dict(world.scored())["forget"], design.targets).sum() < 2:
            raise UserError(
                "eval.rmia.against=ensemble attacks the ensemble's targets, and fewer than two of them are scored as "
                "forget rows.\nTry: eval.rmia.against=retrained reference.count=2"
            )
        return {f"shadows_{number}": stage for number, stage in enumerate(design.chunks())}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return the rows of `Rmia.measure`."""
        expected = self._expected(found)
        mine = self._is_target(found, self._design(found))

        def of(scores: BySplit) -> Told:
            members, others = sides(label_probability, scores, found.whole_class)
            return told_apart(*rmia((members[mine], others), [expected], self.a, self.gamma))

        return by_model("rmia", of, found.scores["original"], found.retrained, found.scores["unlearned"])

    def details(self, found: Found) -> dict[str, object]:
        """Return which references the numbers used, how many of them for each row, and how many forget rows."""
        design = self._design(found)
        each = (design.states == LEFT_OUT).sum(axis=0)
        members = int(self._is_target(found, design).sum())
        return {"against": "ensemble", "references": int(each.min()), "members": members}

    def _design(self, found: Found) -> Ensemble:
        return self.ensemble.design(found.models, found.world, "rmia")

    def _is_target(self, found: Found, design: Ensemble) -> Mask:
        """Return for each scored forget row whether it is a target, (n,) bool."""
        return np.isin(found.scores["unlearned"]["forget"].index, design.targets)

    def _expected(self, found: Found) -> Sides:
        """Return the mean probability under a row's references, of the members and of the held-out rows."""
        design, scores, stages = self._design(found), found.scores["unlearned"], list(found.stages.values())
        of_targets, of_others = heard(stages, found.workshop).confidence, of_held_out(stages, found.workshop)
        members = scores["forget"].index[self._is_target(found, design)]
        others = held_out_like(scores, found.whole_class).index
        left_out = (design.states == LEFT_OUT)[:, places(members, design.targets)]
        like = left_out[:, np.arange(len(others)) % len(members)]
        return (
            _mean(of_targets[:, places(members, design.targets)], left_out),
            _mean(of_others[:, places(others, design.held_out)], like),
        )


def _mean(confidence: Floats, which: Mask) -> Floats:
    """Return each row's mean probability over the models that count for it, (n,), from log odds (m, n)."""
    mean: Floats = np.where(which, expit(confidence), 0.0).sum(axis=0) / which.sum(axis=0)
    return mean


def places(rows: Integers, among: Integers) -> Integers:
    """Return where rows are among others, of which each is there once."""
    order = np.argsort(among)
    found: Integers = order[np.searchsorted(among, rows, sorter=order)]
    return found
