"""Cost against gap: what nearness to the retrained model costs, and which methods no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.plots.figures import figure, short, tidy
from unlearnbench.plots.labels import name_points
from unlearnbench.plots.looks import RETRAINED, family, legend, points
from unlearnbench.plots.picture import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from unlearnbench.report.leaderboard import Board, Line

STEPS = 12
"""How many points of each side of a stair a name must not cover."""
NAMED = 15
"""The most methods with a name, beside those of the front."""


def priced(board: Board) -> list[Line]:
    """Return the methods whose gap and cost are known, the nearest first."""
    return [
        line
        for line in board.lines
        if line.role == "unlearned" and line.cost.mean > 0 and not math.isnan(line.gap.mean)
    ]


def front(board: Board) -> list[Line]:
    """Return the methods that no other beats in both cost and gap, the nearest first: the Pareto front.

    Baselines are no part of it: they do nothing, or hide what the model still knows, and are cheaper than anything.
    """
    found: list[Line] = []
    lines = [line for line in priced(board) if family(line.name, board.families) != "baseline"]
    for line in sorted(lines, key=lambda one: (one.gap.mean, one.cost.mean)):
        if not found or line.cost.mean < found[-1].cost.mean:
            found.append(line)
    return found


def draw(board: Board) -> Figure:
    """Draw the methods by cost ratio and mean gap, both on log scales, with their front."""
    lines = priced(board)
    drawn = figure(WIDTH, 5.0)
    axes = drawn.subplots()
    axes.set_xscale("log")
    least = min((line.gap.mean for line in lines if line.gap.mean > 0), default=0.0)
    if least and any(line.gap.mean <= 0 for line in lines):
        axes.set_yscale("symlog", linthresh=least)
    elif least:
        axes.set_yscale("log")
    for axis, values in zip((axes.xaxis, axes.yaxis), zip(*map(_place, lines), strict=True), strict=True):
        plain_log(axis, values)
    points(axes, {line.name: _place(line) for line in lines}, board.families)
    best = front(board)
    _front(axes, best)
    axes.axvline(1.0, color="grey", linewidth=0.9, linestyle=":", zorder=1)
    if board.noise > 0:
        axes.axhline(board.noise, color=RETRAINED.colour, linewidth=1.2, linestyle="--", zorder=1)
    axes.margins(0.06)
    words = board.headline.words
    tidy(axes, "What nearness costs", x="cost ratio (1 is retraining, dotted)", y=f"mean gap in {words}")
    legend(drawn, {family(line.name, board.families) for line in lines}, with_references=False)
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    named = {line.name: _place(line) for line in [*best, *lines[:NAMED]]}
    name_points(axes, named, [*map(_place, lines), *_along(best)])
    return drawn


def plain_log(axis: Axis, values: Sequence[float]) -> None:
    """Write plain numbers at the decades; between them too where the values do not span two."""
    axis.set_major_formatter(lambda value, _at: f"{value:g}")
    known = [value for value in values if value > 0]
    narrow = bool(known) and max(known) < 10 * min(known)
    axis.set_minor_formatter(lambda value, _at: f"{value:g}" if narrow and f"{value:e}"[0] in "25" else "")


def _front(axes: Axes, lines: Sequence[Line]) -> None:
    """Draw the front as a stair: for each cost, the smallest gap that it buys."""
    corners = sorted(_place(line) for line in lines)
    if not corners:
        return
    axes.step(*zip(*corners, strict=True), where="post", color="#555555", linewidth=1.1, alpha=0.8, zorder=2)


def _along(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Return points along the stair, which names had better not cover either."""
    corners = sorted(_place(line) for line in lines)
    found = []
    for (x, y), (after, below) in pairwise(corners):
        found += [(float(one), y) for one in np.geomspace(x, after, STEPS)]
        found += [(after, y + (below - y) * share) for share in np.linspace(0, 1, STEPS)]
    return found


def _place(line: Line) -> tuple[float, float]:
    return line.cost.mean, line.gap.mean


def words(board: Board) -> tuple[str, str]:
    """Return what the figure shows, for those who do not see it, and what to see in it."""
    lines = priced(board)
    best = front(board)
    told = "; ".join(f"{short(line.name)} {line.cost.mean:.3g} and {line.gap.mean:.3g}" for line in best[:8])
    alt = f"{len(lines)} methods by cost ratio and mean gap. {board.title}. On the front, cost and gap: {told}."
    names = ", ".join(short(line.name) for line in best[:8])
    count = f"{len(best)} methods are" if len(best) > 1 else "One method is"
    caption = (
        f"Lower is nearer to retrained, further left is cheaper. {count} on the "
        f"front, where no other is both (baselines apart): {names}."
    )
    if not board.noise > 0:
        return alt, caption
    within = sum(line.gap.mean <= board.noise for line in lines)
    rest = f"below it nothing can be told from retraining. {within} of {len(lines)} methods are below."
    return alt, f"{caption} The green dashed line is the noise floor, {board.noise:.4f}: {rest}"
