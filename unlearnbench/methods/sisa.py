"""SISA: train several models on disjoint shards of the data, and retrain only those that saw what must go.

Bourtoule, Chandrasekaran, Choquette-Choo, Jia, Travers, Zhang, Lie, Papernot: Machine Unlearning, S&P 2021,
arXiv:1912.03817. All rows are dealt into `shards`, and each shard k into slices D_k1 to D_kR:

    theta_kj = train(theta_k(j-1), D_k1 + ... + D_kj),   theta_k0 random
    a request: theta_kj anew for j >= the first slice of k that holds a row to forget, without these rows
    p(y | x) = mean over k of softmax(f(theta_kR; x)),   or the majority of the models' predictions

A copy of a shard's model is kept before each slice. Shards that hold no row to forget stay as they are. The paper uses
both ways to join the answers (`aggregate`).

A shard takes as many steps as `train.epochs` says, e: with R slices, each is trained for 2 e / (R + 1) epochs of what
the model has seen by then, if need be for a part of one, where their code rounds to whole ones. Each starts the
optimiser and its schedule anew, as only weights are kept. A limit on steps in the recipe is shared among all slices.

The models before the first request are trained here too, on retain and forget together. Their seconds are
`preparation_seconds`, which no cost ratio includes: a service has spent them before anybody asks. So a run takes about
as long as training the original, plus the retraining that the request causes. The original is not used.

A later request of a stream goes on from the ensemble that the last one left. Rows keep their shards and slices, and a
shard without a row of the new request keeps its model. The ensemble does not contain the copies from before the slices;
such a copy is trained once more, without what was forgotten by then, and that counts as preparation again. Rows of a
forgotten class are in every shard: where many rows go, the whole ensemble is trained again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import nn

from unlearnbench.contracts import Index
from unlearnbench.models.ensemble import Aggregate, Ensemble, members
from unlearnbench.models.four_bit import copied
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.training.batches import even_sizes
from unlearnbench.training.fit import fit
from unlearnbench.training.recipe import Recipe
from unlearnbench.training.record import Record
from unlearnbench.training.stepper import clock

Slices = Sequence[Index]
"""The rows of a shard, slice by slice."""


@dataclass(frozen=True, kw_only=True)
class Sisa:
    """Train one model for each of `shards`, in `slices` steps; retrain those that saw a forget row from where it came.

    `aggregate` joins their answers: `mean` of the probabilities, or majority `vote`.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "exact"
    year: ClassVar[int] = 2021
    shards: Annotated[int, Field(ge=1, le=1000)]
    slices: Annotated[int, Field(ge=1, le=1000)]
    aggregate: Aggregate

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained, or a slice would have fewer than two rows."""
        if adapter_of(problem.spec) is not None:
            return "sisa keeps all weights of each shard's model; try model.adapter.r=0"
        rows = len(problem.retain) + len(problem.forget)
        if rows < 2 * self.shards * self.slices:
            return (
                f"sisa has {self.shards} shards of {self.slices} slices, and there are {rows} rows; try method.shards=2"
            )
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the ensemble in which no shard's model has seen a forget row."""
        forget = set(problem.forget.tolist())
        shards = self._dealt(problem)
        firsts = [first_with(forget, slices) for slices in shards]
        prepared = Record()
        started = clock(problem.reference)
        earlier = members(model) if isinstance(model, Ensemble) else [None] * self.shards
        before = [
            self._prepared(problem, number, slices, first, prepared, last)
            for number, (slices, first, last) in enumerate(zip(shards, firsts, earlier, strict=True))
        ]
        problem.record.preparation_seconds += clock(problem.reference) - started
        problem.record.tables["preparation"] = [
            {"seconds": problem.record.preparation_seconds, "examples": float(prepared.examples)}
        ]
        found = []
        for number, (slices, first, kept) in enumerate(zip(shards, firsts, before, strict=True)):
            seen = problem.record.examples
            if first is not None:
                left = [np.setdiff1d(one, problem.forget) for one in slices]
                kept = self._trained(problem, number, left, range(first, self.slices), kept, problem.record)
            found.append(kept)
            problem.record.tables.setdefault("shards", []).append(
                {
                    "shard": number + 1.0,
                    "rows": float(sum(map(len, slices))),
                    "forget_rows": float(sum(len(np.intersect1d(one, problem.forget)) for one in slices)),
                    "slices_retrained": 0.0 if first is None else float(self.slices - first),
                    "examples": float(problem.record.examples - seen),
                }
            )
        return problem.task.prepare(Ensemble(found, self.aggregate))

    def _dealt(self, problem: Problem) -> list[Slices]:
        """Deal all rows into shards of slices; which are to be forgotten plays no part.

        The data set's validation rows are dealt too, and then left out, as are those that earlier requests forgot: a
        row has the same place whatever else is left.
        """
        rows = np.union1d(problem.retain, problem.forget)
        count = max(problem.info.train, int(rows.max()) + 1)
        mixed = np.random.default_rng(stage_seed(problem.seed, "shards")).permutation(count)
        pieces = [np.array_split(shard, self.slices) for shard in np.array_split(mixed, self.shards)]
        return [[piece[np.isin(piece, rows)] for piece in shard] for shard in pieces]

    def _prepared(
        self, problem: Problem, number: int, slices: Slices, first: int | None, record: Record, last: nn.Module | None
    ) -> nn.Module:
        """Return a shard's model as it was before the request, or its copy before the slice `first`.

        `last` is the model that an earlier request left; without one, the whole shard is trained. The copies before
        other slices, which a service would keep, are of no use to this request.
        """
        if first is None and last is not None:
            return last
        model = replace(problem, seed=stage_seed(problem.seed, "shard", number)).start()
        model = self._trained(problem, number, slices, range(self.slices if first is None else first), model, record)
        if first is not None and last is None:
            self._trained(problem, number, slices, range(first, self.slices), copied(model), record)
        return model

    def _trained(
        self, problem: Problem, number: int, slices: Slices, steps: range, model: nn.Module, record: Record
    ) -> nn.Module:
        """Train a shard's model on with each of the slices `steps`, and all before it; return it."""
        steering = problem.validation if problem.recipe.optimizer.schedule == "plateau" else problem.validation[:0]
        for step in steps:
            rows = np.sort(np.concatenate(slices[: step + 1]))
            if len(rows) < 2:  # all others were forgotten
                continue
            seed, own = stage_seed(problem.seed, "shard", number, "slice", step), Record()
            with seeded(seed):
                fit(
                    model, problem.task, rows, steering, self._recipe(problem.recipe, len(rows)),
                    seed=seed, record=own, progress=problem.progress,
                )  # fmt: skip
            record.curve += [{**row, "epoch": row["epoch"] + len(record.curve)} for row in own.curve]
            record.examples += own.examples
            record.validation_seconds += own.validation_seconds
        return model

    def _recipe(self, recipe: Recipe, rows: int) -> Recipe:
        """Return the original's recipe for a step on that many rows: its share of the epochs, and of a limit on steps.

        It may end in the midst of an epoch.
        """
        each = len(even_sizes(rows, recipe.batch_size))
        steps = max(round(2 * recipe.epochs / (self.slices + 1) * each), 1)
        if recipe.optimizer.max_steps is not None:
            steps = min(steps, ceil(recipe.optimizer.max_steps / (self.shards * self.slices)))
        optimizer = replace(recipe.optimizer, max_steps=steps)
        return replace(recipe, epochs=ceil(steps / each), optimizer=optimizer, compile=False)


def first_with(forget: set[int], slices: Slices) -> int | None:
    """Return the first slice that holds a row to forget, or None."""
    return next((place for place, rows in enumerate(slices) if forget.intersection(rows.tolist())), None)
