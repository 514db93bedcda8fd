"""A shadow ensemble: many models, each trained without some of the same target rows, and then unlearned of others.

Each target is left out by a third of the models, retained by a third, and trained on and then forgotten by a third
(the balanced design of Naderloui et al., Rectifying Privacy and Efficacy Measurements in Machine Unlearning, USENIX
Security 2025, arXiv:2506.13009). So M trainings, and M unlearnings a method, give M / 3 observations of each kind for
every target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Index
from unlearnbench.data.sampling import units
from unlearnbench.errors import UserError
from unlearnbench.forget.splits import Splits
from unlearnbench.problem import Method
from unlearnbench.randomness import stage_seed
from unlearnbench.stages.forgotten import Forgotten
from unlearnbench.stages.shadows import Shadow, Shadows
from unlearnbench.stages.train import Train
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.training.recipe import Recipe

if TYPE_CHECKING:
    from unlearnbench.stages.world import World

LEFT_OUT, RETAINED, FORGOTTEN = range(3)
LEAST = 9
"""The fewest models: three observations of each kind, of which one is attacked with the other two."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Who is trained on what: `states` (models, targets) says what each model does with each of the `targets`, sorted.

    `together` models are one stage.
    """

    world: World
    recipe: Recipe
    targets: Index
    states: NDArray[np.int8]
    together: int

    @property
    def held_out(self) -> Index:
        """The rows that no model has seen, and that results call test."""
        return dict(self.world.scored())["test"]

    def chunks(self) -> list[Shadows]:
        """Return the stages that train the models."""
        numbers = range(len(self.states))
        return [Shadows(self, numbers[start : start + self.together]) for start in numbers[:: self.together]]

    def unlearned(self, method: Method) -> list[Forgotten]:
        """Return the stages that make each model forget what it is to forget."""
        return [Forgotten(chunk, method) for chunk in self.chunks()]

    def member(self, number: int) -> World:
        """Return the world of a model: what it retains, and what it is trained on and then forgets."""
        splits, states = self.world.splits, self.states[number]
        always = np.setdiff1d(self.world.all, self.targets)
        retain = np.union1d(always, self.targets[states == RETAINED])
        mine = Splits(retain, self.targets[states == FORGOTTEN], splits.validation, splits.test)
        seed = stage_seed(self.world.eval_seed, "ensemble", number)
        return replace(self.world, splits=mine, seed=seed, unlearn_seed=seed)

    def training(self, number: int) -> Train:
        """Return the training of a model, by the recipe of the original."""
        world, role = self.member(number), f"shadow_{number}"
        names = (self.world.eval_seed, "ensemble", number)
        return Train(world.bench, role, world.all, world.splits.validation, self.recipe, names)

    def why_not(self, method: Method) -> str | None:
        """Return why a method cannot make the models forget, as it says itself."""
        return Unlearn(Shadow(self.chunks()[0], 0), self.member(0), method, self.recipe).why_not()


def ensemble(world: World, recipe: Recipe, models: int, targets: int, together: int, name: str) -> Ensemble:
    """Design an ensemble: half of the targets are rows to forget, the others rows to retain; units stay together.

    At most half of the training rows are targets; the others are in every model. Raises UserError, for the evaluation
    `name`, where there are too few models.
    """
    if models < LEAST:
        raise UserError(
            f"eval.{name}.models={models} is too few: each target must be left out, forgotten and retained by three "
            f"models at least.\nTry: eval.{name}.models=16"
        )
    splits, unit = world.splits, world.bench.data.unit
    targets = min(targets, len(world.all) // 2)
    seed = stage_seed(world.eval_seed, "targets")
    forget = units(splits.forget, unit, targets // 2, seed, "forget")
    free = splits.retain[~np.isin(unit[splits.retain], unit[forget])]
    chosen = np.sort(np.concatenate([forget, units(free, unit, targets - len(forget), seed, "retain")]))
    chosen = np.union1d(chosen, world.all[np.isin(unit[world.all], unit[chosen])])  # the rest of their units
    own, places = np.unique(unit[chosen], return_inverse=True)
    generator = np.random.default_rng(stage_seed(world.eval_seed, "states"))
    states = np.tile(np.arange(models, dtype=np.int8)[:, None] % 3, (1, len(own)))
    return Ensemble(world, recipe, chosen, generator.permuted(states, axis=0)[:, places], together)
