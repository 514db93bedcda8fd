"""One experiment: train, retrain, unlearn and score, reusing every stage that is already known."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnbench.cache import Cache
from unlearnbench.evidence import BySplit, Scores
from unlearnbench.forget import ForgetSet, Splits
from unlearnbench.precision import Precision
from unlearnbench.problem import DataInfo, Dataset, Method, ModelSpec
from unlearnbench.stages import Stages, Trained
from unlearnbench.training import Recipe

INCOMPETENT = 3
"""Random networks that ZRF averages over."""


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
    eval_limit: int | None
    eval_batch: int
    precision: Precision


@dataclass(frozen=True, eq=False)
class Run:
    """What an experiment yields: the trained models, and the scores of each by split."""

    info: DataInfo
    splits: Splits
    original: Trained
    retrained: tuple[Trained, ...]
    unlearned: Trained
    scores: dict[str, tuple[BySplit, ...]]


def run(experiment: Experiment, cache: Cache) -> Run:
    """Train, retrain, unlearn and score; raise Skipped or Diverged where the method cannot run or its loss explodes."""
    data = experiment.dataset.load()
    splits = experiment.forget.split(data)
    stages = Stages(experiment, cache, data, splits)

    original = stages.original()
    retrained = tuple(stages.retrained(number) for number in range(experiment.references))
    unlearned = stages.unlearned(original)

    def scored(model: Trained) -> BySplit:
        return divided({name: stages.scores(model, name, index) for name, index in splits.scored()}, splits)

    scores = {
        "original": (scored(original),),
        "retrained": tuple(scored(model) for model in retrained),
        "unlearned": (scored(unlearned),),
        "incompetent": tuple(
            {"forget": stages.scores(stages.random(number), "forget", splits.forget)} for number in range(INCOMPETENT)
        ),
    }
    return Run(data.info, splits, original, retrained, unlearned, scores)


def divided(scores: dict[str, Scores], splits: Splits) -> BySplit:
    """Add test_retain and test_forget, cut from the scores of test, where the forget set divides the test set."""
    import numpy as np

    if splits.test_retain is None or splits.test_forget is None:
        return scores
    test = scores["test"]
    return {
        **scores,
        "test_retain": test.rows(np.isin(test.index, splits.test_retain)),
        "test_forget": test.rows(np.isin(test.index, splits.test_forget)),
    }
