"""Corrective: once the known share of manipulated rows is unlearned, does the manipulation still work?

Goel, Prabhu, Torr, Kumaraguru, Sanyal: Corrective Machine Unlearning, TMLR 2024, arXiv:2402.14015. `forget=poisoned`
and `forget=confused` manipulate rows, of which a method is shown only a share. A model retrained without the known rows
still learns from the others, so it is no target here: the target is `clean`, trained without any manipulated row.

    gap_to_clean = accuracy of a model - mean accuracy of the clean models, on one split, by the clean labels

Splits: `triggered` (all test rows, with the trigger; forget=poisoned) or `confused` (test rows of the two classes),
`manipulated` (the manipulated training rows, with the trigger, if there is one), and `test`, untouched. The authors
measure the same accuracies (src/main.py), by model and not as gaps. The null: a model retrained without any manipulated
row differs from `clean` only by its seed, so its gap is the noise between seeds, `floor_gap_to_clean`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import ClassVar

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evidence import Scores
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.metrics.classification import accuracy_of
from unlearnbench.metrics.corrective import attack_success
from unlearnbench.ranges import Count
from unlearnbench.stages.score import Score
from unlearnbench.stages.train import Train
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Corrective:
    """Train `count` models without any manipulated row; score all roles where the manipulation would show."""

    count: Count
    headline: ClassVar[tuple[Column, ...]] = (
        Column("gap_to_clean", "triggered"), Column("gap_to_clean", "confused"), Column("gap_to_clean", "manipulated"),
        Column("gap_to_clean", "test"), Column("attack_success", "triggered"), Column("attack_success", "confused"),
    )  # fmt: skip

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the scorings of all roles and of the clean models; raise UserError where no row was manipulated."""
        if world.bench.manipulated is None:
            raise UserError(
                "eval=corrective needs rows that were manipulated, and this forget set only chooses rows.\n"
                "Try: forget=poisoned, forget=confused, or eval=[standard]"
            )
        clean = {model.role: model for model in self._clean(models, world)}
        every: dict[str, Model] = {**dict(models.roles()), **clean}
        probe, test = world.bench.probe(), dict(world.scored())["test"]
        return {
            f"{name}_{split}": Score(probe, model, split, index)
            for name, model in every.items()
            for split, index in _asked(world).items()
        } | {f"{name}_test": Score(world.bench, model, "test", test) for name, model in clean.items()}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how often each role is right where the manipulation would show, and how far it is from clean.

        `accuracy` of original, retrained, clean and unlearned, by the clean labels; on test only that of clean, which
        eval=standard does not know. In [0, 1]. `gap_to_clean` of all but clean: its accuracy less that of the clean
        models. In [-1, 1]; 0 is perfect. Below it the manipulation still works, or on test the method did harm.
        `attack_success`: the share of rows that are called what the manipulation wants, of those that are something
        else. In [0, 1], lower is better; perfect is the clean models' value. Of several models, the mean.
        `floor_gap_to_clean` of clean: how far two clean models are apart, the noise of the gap; from two of them on.
        """
        made = found.world.bench.manipulated
        assert made is not None
        for split in (*_asked(found.world), "test"):
            scores = {role: self._scores(found, names, split) for role, names in self._names(found).items()}
            target = fmean(map(accuracy_of, scores["clean"]))
            for role, each in scores.items():
                right = fmean(map(accuracy_of, each))
                if split != "test" or role == "clean":
                    yield Row(role, split, "accuracy", right)
                if role != "clean":
                    yield Row(role, split, "gap_to_clean", right - target)
                elif len(each) > 1:
                    apart = [abs(one - other) for one, other in combinations(map(accuracy_of, each), 2)]
                    yield Row(role, split, "floor_gap_to_clean", fmean(apart))
                if split != "test":
                    yield from _successes(role, split, each, made.wanted)

    def _clean(self, models: Models, world: World) -> Iterator[Train]:
        """Yield the trainings of the clean models: the recipe of the others, on the rows that nobody manipulated."""
        assert isinstance(models.unlearned, Unlearn) and world.splits.manipulated is not None
        rows = np.setdiff1d(world.all, world.splits.manipulated)
        for number, role in enumerate(self._roles):
            names = (world.seed, "clean", number)
            yield Train(world.bench, role, rows, world.splits.steering, models.unlearned.recipe, names)

    @property
    def _roles(self) -> list[str]:
        return [f"clean_{number}" for number in range(self.count)] if self.count > 1 else ["clean"]

    def _names(self, found: Found) -> dict[str, list[str]]:
        """Return the names of each role's models, without roles that have none."""
        retrained = [name for name, _ in found.models.roles() if name.startswith("retrained")]
        names = {"original": ["original"], "retrained": retrained, "clean": self._roles, "unlearned": ["unlearned"]}
        return {role: some for role, some in names.items() if some}

    def _scores(self, found: Found, names: Iterable[str], split: str) -> list[Scores]:
        return [
            found.read(f"{name}_{split}") if f"{name}_{split}" in found.stages else found.scores[name][split]
            for name in names
        ]


def _successes(role: str, split: str, scores: Iterable[Scores], wanted: Index) -> Iterator[Row]:
    rates = [attack_success(one.prediction, one.label, wanted[one.index]) for one in scores]
    known = [rate for rate in rates if rate is not None]
    if known:
        yield Row(role, split, "attack_success", fmean(known))


def _asked(world: World) -> dict[str, Index]:
    """Return the rows of the probe, by split."""
    made = world.bench.manipulated
    assert made is not None
    asked = {made.split: made.unseen, "manipulated": made.rows}
    return {split: world.limited(split, index) for split, index in asked.items() if len(index)}
