"""Comeback: in a stream of requests, does what was forgotten first come back, and how long is the model of use?

MUSE (Shi et al., ICLR 2025, arXiv:2407.06460) unlearns one part after the other and calls what stays of a model its
sustainability. Here every state is also asked about every earlier request:

    comeback(i, j) = right(model after request i, rows of request j) - right(model after j, rows of request j)

for j < i, where right is the accuracy, or without answer options the exact memorisation. A method that pushed rows
below what a retrained model knows may recover to that level without remembering anything, so read it beside
`gap_accuracy` to the retrained model. Controls: a model retrained without all of them, and `at_once`, the method on all
forget sets in one go. The null: with method=retrain no state ever saw the rows, and come-backs are the noise between
retrainings. Its standard deviation is at most sqrt(2 p (1 - p) / n) for n rows that are known at the rate p, and the
largest of several come-backs lies above 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.contracts import Index
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evidence import Floats
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.metrics.comeback import comebacks, largest_comeback, requests_above
from unlearnbench.stages.score import Score
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Comeback:
    """After each request, score what all requests so far forgot; say when utility falls below `floor`.

    Utility is the accuracy on retain or on test, whichever fell more, as a share of the original's. With `at_once` the
    method is also applied to all forget sets in one go, after the last request.
    """

    floor: Annotated[float, Field(gt=0, le=1)]
    at_once: bool
    headline: ClassVar[tuple[Column, ...]] = (
        Column("comeback_largest", "forget"), Column("requests_above_floor", "retain"),
    )  # fmt: skip

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the scorings of every state so far; those of earlier requests are the same stages as theirs."""
        if world.last and not world.before:
            raise UserError(
                "eval=comeback asks what later requests bring back, and there is one request.\n"
                "Try: forget=stream, or eval=[standard]"
            )
        worlds, states = _worlds(world), _states(models, world)
        forgotten = [dict(one.scored())["forget"] for one in worlds]
        found = _on_forgotten("original", models.original, world, forgotten)
        for number, (state, one) in enumerate(zip(states, worlds, strict=True), 1):
            found |= _on_forgotten(f"state_{number}", state, one, forgotten[:number])
            found |= _on_kept(f"state_{number}", state, one) | _on_kept(f"original_{number}", models.original, one)
        for role, model in models.roles():
            if role.startswith("retrained"):
                found |= _on_forgotten(role, model, world, forgotten)
        if self.at_once and world.last:
            model = _at_once(states[-1], models.original, world)
            found |= _on_forgotten("at_once", model, world, forgotten) | _on_kept("at_once", model, world)
        return found

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how much each state knows of each request's rows, what came back, and how long it stays useful.

        On `forget_1`, `forget_2` ...: `accuracy` (without answer options `exact_memorisation`) of original, retrained,
        unlearned and unlearned_at_once; `comeback` of unlearned, in [-1, 1]: it less the same right after that request;
        and `gap_accuracy` to the retrained models; 0 is perfect for both. `comeback_largest`, of unlearned on forget:
        the largest come-back so far. `utility`, of unlearned and at_once on retain: at least 0, 1 is the original's,
        higher is better. `requests_above_floor`, of unlearned on retain: after how many requests in a row utility is
        not below the floor; from 0 to all, which is perfect.
        """
        worlds = _worlds(found.world)
        count = len(worlds)
        right = np.full((count, count), np.nan)
        for state in range(count):
            right[state, : state + 1] = self._right(found, f"state_{state + 1}", state + 1)
        utility = np.array([_utility(found, f"state_{number}", number) for number in range(1, count + 1)])
        yield from self._curves(found, right)
        largest = largest_comeback(right)
        if largest is not None:
            yield Row("unlearned", "forget", "comeback_largest", largest)
        yield Row("unlearned", "retain", "utility", float(utility[-1]))
        yield Row("unlearned", "retain", "requests_above_floor", float(requests_above(utility, self.floor)))
        if "at_once_retain" in found.stages:
            yield Row("unlearned_at_once", "retain", "utility", _utility(found, "at_once", count))

    def _curves(self, found: Found, right: Floats) -> Iterator[Row]:
        """Yield what is known of each request's rows now, and what of it came back."""
        count, back = len(right), comebacks(right)[-1]
        retrained = [role for role, _ in found.models.roles() if role.startswith("retrained")]
        values = {"original": self._right(found, "original", count), "unlearned": right[-1]}
        if retrained:
            values["retrained"] = np.mean([self._right(found, role, count) for role in retrained], axis=0)
        if "at_once_retain" in found.stages:
            values["unlearned_at_once"] = self._right(found, "at_once", count)
        for number in range(count):
            split = f"forget_{number + 1}"
            name, _ = found.read(f"original_{split}").right
            for role, each in values.items():
                yield Row(role, split, name, float(each[number]))
            if retrained:
                gap = float(values["unlearned"][number] - values["retrained"][number])
                yield Row("unlearned", split, f"gap_{name}", gap)
            if number < count - 1:
                yield Row("unlearned", split, "comeback", float(back[number]))

    def _right(self, found: Found, model: str, count: int) -> Floats:
        """Return how often a model is right on what each of the first requests forgot, (count,)."""
        splits = (f"{model}_forget_{number}" for number in range(1, count + 1))
        return np.array([found.read(split).right[1].mean() for split in splits])


def _worlds(world: World) -> list[World]:
    """Return the worlds of all requests so far, this one last."""
    return [replace(world, splits=splits) for splits in (*world.before, world.splits)]


def _states(models: Models, world: World) -> list[Unlearn]:
    """Return the models after each request so far."""
    state: Model = models.unlearned
    found = []
    for _ in range(len(world.before) + 1):
        assert isinstance(state, Unlearn)
        found.append(state)
        state = state.original
    return found[::-1]


def _on_forgotten(name: str, model: Model, world: World, forgotten: Iterable[Index]) -> dict[str, Stage]:
    """Return the scorings of a model on what each request forgot."""
    numbered = ((f"forget_{number}", index) for number, index in enumerate(forgotten, 1))
    return {f"{name}_{split}": Score(world.bench, model, split, index) for split, index in numbered}


def _on_kept(name: str, model: Model, world: World) -> dict[str, Stage]:
    """Return the scorings of a model on retain and test, as every run has them."""
    kept = ((split, index) for split, index in world.scored() if split != "forget")
    return {f"{name}_{split}": Score(world.bench, model, split, index) for split, index in kept}


def _utility(found: Found, model: str, number: int) -> float:
    """Return the smaller of a model's shares of the original's accuracy: on retain, and on what stays of test."""
    stays = _worlds(found.world)[number - 1].splits.test_retain
    shares = []
    for split in ("retain", "test"):
        one, other = found.read(f"{model}_{split}"), found.read(f"original_{number}_{split}")
        kept = np.isin(one.index, stays) if split == "test" and stays is not None else np.ones(len(one), dtype=bool)
        shares.append(float(one.right[1][kept].mean() / max(other.right[1][kept].mean(), 1e-12)))
    return min(shares)


def _at_once(last: Unlearn, original: Model, world: World) -> Unlearn:
    """Return the unlearning of all forget sets in one go, from the original."""
    everything = reduce(np.union1d, [one.forget for one in (*world.before, world.splits)])
    splits = replace(world.splits, forget=everything, forget_asked=None)
    return replace(last, original=original, world=replace(world, splits=splits), role="unlearned_at_once")
