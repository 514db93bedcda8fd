"""Relearn: how fast does what was unlearned come back?

Deeb, Roger: Do Unlearning Methods Remove Information from Language Model Weights?, arXiv:2410.08827. Half of the forget
rows are trained on for a few epochs, and the other half is scored after each: a model that never knew them gains
nothing there but what the two halves share. The retrained model is the control.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.data.sampling import first_units
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.stage import Model, Stage, needed_by
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import bar
from unlearnbench.models.start import trainable
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.ranges import Count
from unlearnbench.training.fit import fit
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.recipe import Recipe
from unlearnbench.training.record import Record

if TYPE_CHECKING:
    from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Relearn:
    """Train every model on half of the forget rows; score the other half before, and after each epoch."""

    epochs: Count
    batch_size: Count
    optimizer: Optimizer
    headline: ClassVar[tuple[Column, ...]] = (Column("relearn_gap", "forget"),)
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (Column("relearn_gain", "forget"),)

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return one relearning per role."""
        taught, held = halves(world)
        recipe = Recipe(epochs=self.epochs, batch_size=self.batch_size, label_smoothing=0.0, optimizer=self.optimizer)
        return {role: Relearning(model, world, taught, held, recipe) for role, model in models.roles()}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return the accuracy on the held half by epoch, and the mean gap between unlearned and retrained.

        `relearn_gap`, of the unlearned model on forget: its accuracy on the held half less that of the retrained
        models, mean over the epochs. In [-1, 1]; 0 is perfect, above it the model still knew. Without retrained models
        there is `relearn_gain` instead: its mean accuracy there over the epochs, less that before the first. Without
        answer options, exact memorisation takes the place of accuracy.
        """
        name = "accuracy" if found.world.bench.info.has_options else "exact_memorisation"
        curves: dict[str, list[float]] = {}
        for role, _ in found.models.roles():
            curves[role] = list(found.artefact(role).facts["accuracy"])
            for epoch, value in enumerate(curves[role]):
                yield Row(f"{role}_relearned_{epoch}", "forget_held", name, value)
        retrained = [curve for role, curve in curves.items() if role.startswith("retrained")]
        if retrained:
            control = np.mean(retrained, axis=0)
            yield Row("unlearned", "forget", "relearn_gap", float(np.mean(curves["unlearned"][1:] - control[1:])))
        elif found.models.unreferenced:
            before, *after = curves["unlearned"]
            yield Row("unlearned", "forget", "relearn_gain", float(np.mean(after) - before))


def halves(world: World) -> tuple[Index, Index]:
    """Return the forget rows that are taught again and those that are held back.

    Rows of one unit stay together, unless all rows are of one. Raises UserError for a single row.
    """
    forget, unit = world.splits.forget, world.bench.data.unit
    half = len(forget) // 2
    if not half:
        raise UserError(
            "eval=relearn teaches half of the forget rows and scores the other: one row is too few.\n"
            "Try: a larger forget set, or eval=[standard]"
        )
    order = np.random.default_rng(stage_seed(world.eval_seed, "relearn")).permutation(forget)
    taught = first_units(order, unit, half)
    taught = np.sort(taught if len(taught) else order[:half])
    return taught, np.setdiff1d(forget, taught)


@dataclass(frozen=True, eq=False)
class Relearning(Stage):
    """A copy of a model, trained on the rows at `taught`; its accuracy on those at `held` is kept, its weights not."""

    model: Model
    world: World
    taught: Index
    held: Index
    recipe: Recipe
    kind: ClassVar[str] = "relearn"

    @property
    def label(self) -> str:
        """The role, relearning."""
        return f"{self.model.role} relearning"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """What the model needs."""
        return needed_by(self.model)

    @property
    def models(self) -> tuple[Model, ...]:
        """The model."""
        return (self.model,)

    @property
    def settings(self) -> tuple[object, ...]:
        """Seed, model, task, recipe and the rows."""
        bench = self.world.bench
        rows = (bench.print(self.taught), bench.print(self.held))
        return (self.model.key, self._seed, bench.setting, self.recipe, rows)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the task's and the model's."""
        return (__name__, *self.world.bench.modules)

    @property
    def _seed(self) -> int:
        return stage_seed(self.world.eval_seed, "relearn")

    def compute(self, workshop: Workshop) -> Artefact:
        """Train the copy; keep the accuracy on the held rows, before and after each epoch."""
        bench, record = self.world.bench, Record()
        before = bench.task.score(workshop.model(self.model), self.held)
        with seeded(self._seed, "adapter"):
            student = trainable(bench.spec, workshop.take(self.model))
        with seeded(self._seed), bar(self.label) as progress:
            fit(
                student, bench.task, self.taught, self.held, self.recipe,
                seed=self._seed, record=record, progress=progress,
            )  # fmt: skip
        accuracy = [float(before.right[1].mean())]
        accuracy += [row["validation_accuracy"] for row in record.curve]
        return Computed({}, {"accuracy": accuracy, "curve": record.curve, "examples": record.examples})
