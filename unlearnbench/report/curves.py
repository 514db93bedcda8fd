"""What a board's runs measured step by step: paths of the unlearning, and relearning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from unlearnbench.plots.multiples import Curves

RATES = ("accuracy", "exact_memorisation")
STEP = re.compile(r"unlearned_step_(\d+)")
RELEARNED = re.compile(r"(original|retrained|unlearned)(?:_\d+)?_relearned_forget_(\d+)")
HELD = "forget_held"
Key = tuple[str, str, str, str]
"""Variant, role, metric and split."""


def curves(means: Mapping[Key, float], names: Sequence[str], rate: str) -> Curves:
    """Return the curves of a board's methods in the order of `names`, from its means over seeds."""
    points: dict[str, dict[int, dict[str, float]]] = {}
    back: dict[str, dict[int, list[float]]] = {}
    for (variant, role, metric, split), mean in means.items():
        if metric not in RATES:
            continue
        if metric == rate and (step := STEP.fullmatch(role)):
            points.setdefault(variant, {}).setdefault(int(step[1]), {})[split] = mean
        if split == HELD and (found := RELEARNED.fullmatch(role)):
            back.setdefault(variant or found[1], {}).setdefault(int(found[2]), []).append(mean)
    paths = {name: _path(points[name]) for name in names if name in points}
    order = [name for name in (*("original", "retrained"), *names) if name in back]
    relearned = {
        name: [(step, sum(values) / len(values)) for step, values in sorted(back[name].items())] for name in order
    }
    target = tuple(means.get(("", "retrained", rate, split)) for split in ("forget", "retain"))
    return Curves(
        rate.replace("_", " "),
        {name: path for name, path in paths.items() if len(path) > 1},
        relearned,
        None if None in target else target,  # type: ignore[arg-type]
    )


def _path(steps: Mapping[int, Mapping[str, float]]) -> list[tuple[int, float, float]]:
    """Return the points of a path in order: step, forget, retain."""
    return [
        (step, rates["forget"], rates["retain"])
        for step, rates in sorted(steps.items())
        if {"forget", "retain"} <= rates.keys()
    ]
