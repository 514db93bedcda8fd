"""The order in which a run's stages are done."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnbench.graph.stage import Stage


def each_behind_its_models(models: Sequence[Stage], asked_for: Sequence[Stage]) -> list[Stage]:
    """Return the models, and behind each the stages that wait for no later one: so few are in memory at a time."""
    place = {model.key: number for number, model in reversed(list(enumerate(models)))}
    last: dict[str, int] = {}

    def last_of(stage: Stage) -> int:
        if stage.key not in last:
            below = max((last_of(one) for one in stage.inputs), default=-1)
            last[stage.key] = max(below, place.get(stage.key, -1))
        return last[stage.key]

    behind: dict[int, list[Stage]] = {}
    for stage in asked_for:
        behind.setdefault(last_of(stage), []).append(stage)
    found = [one for number, model in enumerate(models) for one in (model, *behind.pop(number, ()))]
    return [*found, *(stage for rest in behind.values() for stage in rest)]
