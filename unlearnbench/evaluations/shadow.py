"""Shadow: models trained like the original without a random half of the rows, scored on all of them.

Membership attacks that look at each example compare what a model says of rows that it has seen and of rows that it has
not (Carlini et al., arXiv:2112.03570). One shadow already shows how much the original remembers of single rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.graph.stage import Stage
from unlearnbench.ranges import Count
from unlearnbench.stages.score import Score
from unlearnbench.stages.train import Train
from unlearnbench.stages.world import World
from unlearnbench.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """Train `count` shadows; score each on all rows that the original was trained on."""

    count: Count
    headline: ClassVar[tuple[Column, ...]] = ()

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the scorings of the shadows."""
        original = models.original
        if not isinstance(original, Train):
            raise UserError(
                "eval=shadow repeats the original's training, and model.checkpoint brings no training.\n"
                "Try: 'eval=[standard]'"
            )
        return {
            f"shadow_{number}": Score(world.bench, shadow(world, number, original.recipe), "train", world.all)
            for number in range(self.count)
        }

    def measure(self, found: Found) -> Iterable[Row]:
        """Return each shadow's accuracy on the rows inside and outside of its half, and the difference.

        `memorised`, of a shadow on train: accuracy inside less outside. In [-1, 1]; 0 means that no row is remembered.
        Without answer options, exact memorisation takes the place of accuracy.
        """
        for number in range(self.count):
            scores = found.read(f"shadow_{number}")
            inside = np.isin(scores.index, found.world.without("shadow", number).splits.retain)
            name, right = scores.right
            yield Row(f"shadow_{number}", "train_in", name, float(right[inside].mean()))
            yield Row(f"shadow_{number}", "train_out", name, float(right[~inside].mean()))
            yield Row(f"shadow_{number}", "train", "memorised", float(right[inside].mean() - right[~inside].mean()))


def shadow(world: World, number: int, recipe: Recipe) -> Train:
    """Return the training of a shadow: the recipe of the original, on a random half of its rows."""
    half = world.without("shadow", number).splits
    names = (world.eval_seed, "shadow", number)
    return Train(world.bench, f"shadow_{number}", half.retain, half.validation, recipe, names)
