"""The figure of a path: forget against retain along an unlearning, and every split over its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.plots.figures import ROLE_COLOURS, figure, plain_text, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPLIT_COLOURS = {"retain": "#0072B2", "forget": "#D55E00", "test": "#999999", "validation": "#CC79A7"}
SPAN = 0.1
"""The smallest range of a rate on an axis."""


@dataclass(frozen=True, kw_only=True)
class Trail:
    """The points of a path in order: their steps, and rates by split; those of the retrained models beside them.

    `stopped` and `best` are places among the points. `words` say what was found.
    """

    steps: Sequence[int]
    rates: Mapping[str, Sequence[float]]
    retrained: Sequence[Mapping[str, float]]
    stopped: int | None
    best: int | None
    rate: str
    spaced: str
    words: str


@plain_text()
def draw(path: Path, trail: Trail) -> None:
    """Write the figure."""
    drawn = figure(12.5, 5.0)
    plane, time = drawn.subplots(1, 2)
    _plane(plane, trail)
    _over_steps(time, trail)
    drawn.suptitle(fill(trail.words, 140), fontsize=11, x=0.01, ha="left")
    save(drawn, path)


def _plane(axes: Axes, trail: Trail) -> None:
    """Draw the path in the plane of forget and retain, from the original on."""
    forget, retain = trail.rates["forget"], trail.rates["retain"]
    axes.plot(forget, retain, "-", marker=".", markersize=8, color=ROLE_COLOURS["unlearned"], linewidth=1.2)
    for place in range(1, len(forget) - 1):
        axes.annotate(
            f"{trail.steps[place]}", (forget[place], retain[place]), textcoords="offset points", xytext=(5, 4),
            fontsize=7, color="grey",
        )  # fmt: skip
    axes.plot(forget[0], retain[0], "s", color=ROLE_COLOURS["original"], markersize=9, label="original, step 0")
    end = f"unlearned, step {trail.steps[-1]}" if trail.steps[-1] else "unlearned"
    axes.plot(forget[-1], retain[-1], "o", color=ROLE_COLOURS["unlearned"], markersize=9, label=end)
    _mark(axes, trail, forget, retain)
    _target(axes, trail)
    for low, high, limit in ((*axes.get_xlim(), axes.set_xlim), (*axes.get_ylim(), axes.set_ylim)):
        more = max(SPAN - (high - low), 0.06 * (high - low)) / 2
        limit(low - more, high + more)
    axes.legend(frameon=False, fontsize=8)
    title = "Does the path lead to the retrained model, past it, or away from it?"
    tidy(axes, title, x=f"{trail.rate} on forget", y=f"{trail.rate} on retain")


def _target(axes: Axes, trail: Trail) -> None:
    """Draw where the retrained models are: their mean, and with two or more the area that they span."""
    if not trail.retrained:
        return
    from matplotlib.patches import Rectangle

    forget, retain = (np.array([one[split] for one in trail.retrained]) for split in ("forget", "retain"))
    colour = ROLE_COLOURS["retrained"]
    if len(forget) > 1:
        corner, size = (forget.min(), retain.min()), (np.ptp(forget), np.ptp(retain))
        span = f"where the {len(forget)} retrained models are"
        axes.add_patch(Rectangle(corner, *size, color=colour, alpha=0.25, linewidth=2, label=span))
    axes.plot(forget.mean(), retain.mean(), "*", color=colour, markersize=16, label="retrained", zorder=1)


def _mark(axes: Axes, trail: Trail, x: Sequence[float], y: Sequence[float]) -> None:
    """Mark the two stops among points at (x, y)."""
    if trail.best is not None:
        axes.plot(
            x[trail.best], y[trail.best], "o", fillstyle="none", color=ROLE_COLOURS["retrained"], markersize=15,
            label=f"best in hindsight, step {trail.steps[trail.best]}",
        )  # fmt: skip
    if trail.stopped is not None:
        axes.plot(
            x[trail.stopped], y[trail.stopped], "D", fillstyle="none", color="black", markersize=11,
            label=f"the rule stops, step {trail.steps[trail.stopped]}",
        )  # fmt: skip


def _over_steps(axes: Axes, trail: Trail) -> None:
    """Draw each split's rate over the steps, the retrained models' as dashed lines."""
    counted = trail.steps[-1] > 0
    steps = trail.steps if counted else list(range(len(trail.steps)))
    for split, rates in trail.rates.items():
        colour = SPLIT_COLOURS[split]
        axes.plot(steps, rates, "-", marker=".", color=colour, label=split)
        if trail.retrained:
            level = float(np.mean([one[split] for one in trail.retrained]))
            axes.axhline(level, color=colour, linewidth=1, linestyle="--", alpha=0.7)
    for place, colour in ((trail.best, ROLE_COLOURS["retrained"]), (trail.stopped, "black")):
        if place is not None:
            axes.axvline(steps[place], color=colour, linewidth=1, linestyle=":")
    if not counted:
        axes.set_xticks(steps, ["before", "after"])
    elif trail.spaced == "log":
        axes.set_xscale("symlog", linthresh=1)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize=8)
    below = "dashed: retrained; dotted: the stops" if trail.retrained else "dotted: the stop"
    tidy(axes, f"What it costs, step by step ({below})", x="optimiser steps" if counted else "", y=trail.rate)
