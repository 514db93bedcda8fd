"""One experiment as a picture: which stages there are, and what each is made of. Nothing runs here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from unlearnbench.contracts import Dataset, ModelSpec
from unlearnbench.evaluations.evaluation import Evaluation, Models, score_all
from unlearnbench.forget.splits import ForgetSet
from unlearnbench.graph.stage import Stage
from unlearnbench.machine.precision import Precision
from unlearnbench.problem import Method
from unlearnbench.stages.bench import Bench
from unlearnbench.stages.score import Score
from unlearnbench.stages.train import Checkpoint, Train
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.stages.world import World
from unlearnbench.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides a run's results, as typed objects."""

    seed: int
    unlearn_seed: int
    eval_seed: int
    dataset: Dataset
    model: ModelSpec
    forget: ForgetSet
    method: Method
    recipe: Recipe
    references: int
    evaluations: Mapping[str, Evaluation]
    eval_held_out: Literal["test", "validation"]
    eval_limit: int | None
    eval_batch: int
    eval_generate: int
    extra: Mapping[str, Dataset]
    precision: Precision
    deterministic: bool

    @property
    def parts(self) -> tuple[object, ...]:
        """The configurations that may name files."""
        one_each = (self.dataset, self.model, self.forget, self.method, self.recipe)
        return (*one_each, *self.evaluations.values(), *self.extra.values())


@dataclass(frozen=True, eq=False)
class Forgetting:
    """One request to forget: its world, the models before and after it, and what is asked of them.

    `scores` are the scorings of each role by split, `added` the stages of each evaluation by name.
    """

    number: int
    world: World
    models: Models
    scores: Mapping[str, Mapping[str, Score]]
    added: Mapping[str, Mapping[str, Stage]]

    def stages(self) -> Iterator[Stage]:
        """Yield the stages whose results the request's rows are measured from."""
        for by_split in (*self.scores.values(), *self.added.values()):
            yield from by_split.values()


def build(experiment: Experiment, bench: Bench) -> tuple[Forgetting, ...]:
    """Lay out the stages of a run: one request, or those of a stream, each unlearned from the last one's result."""
    seed, recipe = experiment.seed, experiment.recipe
    splits = bench.requests(experiment.forget)
    first = World(bench, splits[0], seed, experiment.unlearn_seed, experiment.eval_seed)
    original = original_of(first, recipe)
    found: list[Forgetting] = []
    before: Train | Checkpoint | Unlearn = original
    for number, one in enumerate(splits, 1):
        world = replace(first, splits=one, before=splits[: number - 1], last=number == len(splits))
        references = experiment.references if number in (1, len(splits)) else 0
        retrained = tuple(
            Train(bench, f"retrained_{k}", one.retain, one.steering, recipe, (seed, "retrained", k))
            for k in range(references)
        )
        unlearned = Unlearn(before, world, experiment.method, recipe)
        models = Models(original, retrained, unlearned, unreferenced=not experiment.references)
        scores = {role: score_all(model, world) for role, model in models.roles()}
        added = {name: evaluation.stages(models, world) for name, evaluation in experiment.evaluations.items()}
        found.append(Forgetting(number, world, models, scores, added))
        before = unlearned
    return tuple(found)


def original_of(world: World, recipe: Recipe) -> Train | Checkpoint:
    """Return the model that has learned all training rows: trained by the recipe, or the user's own."""
    bench = world.bench
    if bench.spec.checkpoint is not None:
        return Checkpoint(bench)
    return Train(bench, "original", world.all, world.splits.validation, recipe, (world.seed, "original"))
