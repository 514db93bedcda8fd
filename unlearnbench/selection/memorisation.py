"""How much each training row is remembered: what models that saw it say of its answer, less what the others say.

Feldman, Zhang: What Neural Networks Memorize and Why, NeurIPS 2020, arXiv:2008.03703. `models` trainings like the
original's, each without three in ten of the rows:

  memorisation_i = mean p_y(i) of the models with i - mean p_y(i) of the models without it

in [-1, 1]; 0 where the rows' own presence changes nothing, near 1 for a row that is only right because it was seen.

Where we differ from the authors' code: every row is left out equally often, where independent subsets leave some rows
out once or never; p_y takes the place of 0 or 1, which is coarse where five models do not see a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from unlearnbench.randomness import stage_seed
from unlearnbench.stages.score import Score
from unlearnbench.stages.train import Train
from unlearnbench.stages.world import World

OUT = 0.3
"""The share of the models that do not see a row."""


def scorings(original: Train, world: World, models: int) -> Mapping[str, Score]:
    """Return the scorings on all training rows of models that are trained without some of them."""
    found = {}
    for number, inside in enumerate(inside_of(world, models)):
        name = f"subset_{number}"
        names = (world.eval_seed, "subset", number)
        one = Train(world.bench, name, world.all[inside], original.validation, original.recipe, names)
        found[name] = Score(world.bench, one, "train", world.all)
    return found


def inside_of(world: World, models: int) -> NDArray[np.bool_]:
    """Return which training rows each model sees, (models, n); rows of one unit are left out together."""
    names, unit = np.unique(world.bench.data.unit[world.all], return_inverse=True)
    sees = np.arange(models) >= max(round(OUT * models), 1)
    generator = np.random.default_rng(stage_seed(world.eval_seed, "subsets"))
    found: NDArray[np.bool_] = generator.permuted(np.tile(sees[:, None], (1, len(names))), axis=0)[:, unit]
    return found


def memorised(confidence: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the memorisation of each row, (n,), from each model's p_y and whether it saw the row, (models, n)."""
    seen, unseen = (np.where(which, confidence, 0.0).sum(axis=0) / which.sum(axis=0) for which in (inside, ~inside))
    difference: NDArray[np.float64] = seen - unseen
    return difference
