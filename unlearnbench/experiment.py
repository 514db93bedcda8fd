"""One experiment: train, retrain, unlearn and score, reusing every stage that is already known."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from unlearnbench.contracts import Data, DataInfo, Dataset, Index, ModelSpec
from unlearnbench.evidence import BySplit, Scores
from unlearnbench.forget.splits import ForgetSet, Splits, twins_retained
from unlearnbench.graph.cache import Cache
from unlearnbench.machine.precision import Precision
from unlearnbench.problem import Method
from unlearnbench.stages.stages import Stages, Trained
from unlearnbench.training.recipe import Recipe

log = logging.getLogger("unlearnbench")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides a run's results, as typed objects."""

    seed: int
    dataset: Dataset
    model: ModelSpec
    forget: ForgetSet
    method: Method
    recipe: Recipe
    references: int
    eval_held_out: Literal["test", "validation"]
    eval_limit: int | None
    eval_batch: int
    eval_generate: int
    extra: dict[str, Dataset]
    precision: Precision
    deterministic: bool


@dataclass(frozen=True, eq=False)
class Run:
    """What an experiment yields: the trained models, the scores of each by split, and the stages that build them."""

    data: Data
    splits: Splits
    original: Trained
    retrained: tuple[Trained, ...]
    unlearned: Trained
    scores: dict[str, tuple[BySplit, ...]]
    stages: Stages

    @property
    def info(self) -> DataInfo:
        """What is known of the data set."""
        return self.data.info


def run(experiment: Experiment, cache: Cache) -> Run:
    """Train, retrain, unlearn and score; raise Skipped or Diverged where the method cannot run or its loss explodes."""
    data = experiment.dataset.load()
    if experiment.eval_held_out == "validation":
        data = replace(cast(Any, data), test=data.validation)
    splits = experiment.forget.split(data)
    _say_of_twins(experiment, data, splits)
    stages = Stages(experiment, cache, data, splits)

    stages.check()
    more = {name: extra.load() for name, extra in experiment.extra.items()}
    stages.prepare(more)

    def scored(model: Trained) -> BySplit:
        by_split = {name: stages.scores(model, name, index) for name, index in splits.scored()}
        return divided({**by_split, **{name: stages.extra(model, name, data) for name, data in more.items()}}, splits)

    original = stages.original()
    scores: dict[str, tuple[BySplit, ...]] = {"original": (scored(original),)}
    retrained = tuple(stages.retrained(number) for number in range(experiment.references))
    scores["retrained"] = tuple(scored(model) for model in retrained)
    unlearned = stages.unlearned(original)
    scores["unlearned"] = (scored(unlearned),)
    known = scores["unlearned"][0]
    compared: dict[str, Index] = {
        name: known[name].index.astype("int64") for name in ("forget", "test_forget") if name in known
    }
    scores["incompetent"] = tuple(
        {name: stages.scores(model, name, index) for name, index in compared.items()} for model in stages.incompetent()
    )
    return Run(data, splits, original, retrained, unlearned, scores, stages)


def _say_of_twins(experiment: Experiment, data: Data, splits: Splits) -> None:
    """Warn where rows were drawn without their twins; where all rows of a value go, that is what was asked for."""
    left = twins_retained(splits, data)
    if left and not experiment.forget.whole_class:
        log.warning(
            "%d of %d forget rows have a counterfactual twin in the retain set: the retrained model has seen all but "
            "the group in them. Try: forget.whole_pairs=true", left, len(splits.forget),
        )  # fmt: skip


def divided(scores: dict[str, Scores], splits: Splits) -> BySplit:
    """Add test_retain and test_forget, cut from the scores of test, where the forget set divides the test set."""
    import numpy as np

    test, parts = scores["test"], {"test_retain": splits.test_retain, "test_forget": splits.test_forget}
    cut = {name: test.rows(np.isin(test.index, part)) for name, part in parts.items() if part is not None}
    return {**scores, **{name: rows for name, rows in cut.items() if len(rows)}}
