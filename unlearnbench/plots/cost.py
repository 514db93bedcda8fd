"""Cost against gap: what nearness to the retrained model costs, and which methods no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unlearnbench.plots.figures import figure, short, tidy
from unlearnbench.plots.labels import name_points
from unlearnbench.plots.looks import RETRAINED, family, legend, points
from unlearnbench.plots.picture import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from unlearnbench.report.board import Board, Line

STEPS = 12
"""How many points of each side of a stair a name must not cover."""
NAMED = 15
"""The most methods with a name, beside those of the front."""


class Priced(NamedTuple):
    """A method's place in the figure: its share of retraining's cost, and its mean gap."""

    name: str
    cost: float
    gap: float

    @property
    def place(self) -> tuple[float, float]:
        """Its cost and gap."""
        return self.cost, self.gap


def priced(board: Board) -> list[Priced]:
    """Return the methods whose gap and cost are known, the nearest first.

    The cost is in CPU or GPU seconds where those of all are known, since other work on the machine is not in them;
    otherwise in wall-clock seconds (decision 0054).
    """
    by_processor = is_by_processor(board)
    return [Priced(one.name, (one.compute if by_processor else one.cost).mean, one.gap.mean) for one in _known(board)]


def is_by_processor(board: Board) -> bool:
    """Return whether the figure draws CPU or GPU seconds, not wall-clock seconds."""
    return all(line.compute.mean > 0 for line in _known(board))


def _known(board: Board) -> list[Line]:
    lines = [line for line in board.lines if line.role == "unlearned"]
    return [line for line in lines if line.cost.mean > 0 and not math.isnan(line.gap.mean)]


def front(board: Board) -> list[Priced]:
    """Return the methods that no other beats in both cost and gap, the nearest first: the Pareto front.

    Baselines are no part of it: they do nothing, or hide what the model still knows, and are cheaper than anything.
    """
    found: list[Priced] = []
    methods = [one for one in priced(board) if family(one.name, board.families) != "baseline"]
    for one in sorted(methods, key=lambda method: (method.gap, method.cost)):
        if not found or one.cost < found[-1].cost:
            found.append(one)
    return found


def draw(board: Board) -> Figure:
    """Draw the methods by cost and mean gap, both on log scales, with their front."""
    methods = priced(board)
    drawn = figure(WIDTH, 5.0)
    axes = drawn.subplots()
    axes.set_xscale("log")
    least = min((one.gap for one in methods if one.gap > 0), default=0.0)
    if least and any(one.gap <= 0 for one in methods):
        axes.set_yscale("symlog", linthresh=least)
    elif least:
        axes.set_yscale("log")
    for axis, values in zip((axes.xaxis, axes.yaxis), zip(*(one.place for one in methods), strict=True), strict=True):
        plain_log(axis, values)
    points(axes, {one.name: one.place for one in methods}, board.families)
    best = front(board)
    _front(axes, best)
    axes.axvline(1.0, color="grey", linewidth=0.9, linestyle=":", zorder=1)
    if board.noise > 0:
        axes.axhline(board.noise, color=RETRAINED.colour, linewidth=1.2, linestyle="--", zorder=1)
    axes.margins(0.06)
    words = board.headline.words
    tidy(
        axes, "What nearness costs", x=f"cost in {_measure(board)} (1 is retraining, dotted)", y=f"mean gap in {words}"
    )
    legend(drawn, {family(one.name, board.families) for one in methods}, with_references=False)
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    named = {one.name: one.place for one in [*best, *methods[:NAMED]]}
    name_points(axes, named, [*(one.place for one in methods), *_along(best)])
    return drawn


def plain_log(axis: Axis, values: Sequence[float]) -> None:
    """Write plain numbers at the decades; between them too where the values do not span two."""
    axis.set_major_formatter(lambda value, _at: f"{value:g}")
    known = [value for value in values if value > 0]
    narrow = bool(known) and max(known) < 10 * min(known)
    axis.set_minor_formatter(lambda value, _at: f"{value:g}" if narrow and f"{value:e}"[0] in "25" else "")


def _measure(board: Board) -> str:
    """Return in what the costs of the figure are."""
    return "CPU or GPU seconds" if is_by_processor(board) else "seconds"


def _front(axes: Axes, best: Sequence[Priced]) -> None:
    """Draw the front as a stair: for each cost, the smallest gap that it buys."""
    corners = sorted(one.place for one in best)
    if not corners:
        return
    axes.step(*zip(*corners, strict=True), where="post", color="#555555", linewidth=1.1, alpha=0.8, zorder=2)


def _along(best: Sequence[Priced]) -> list[tuple[float, float]]:
    """Return points along the stair, which names had better not cover either."""
    corners = sorted(one.place for one in best)
    found = []
    for (x, y), (after, below) in pairwise(corners):
        found += [(float(one), y) for one in np.geomspace(x, after, STEPS)]
        found += [(after, y + (below - y) * share) for share in np.linspace(0, 1, STEPS)]
    return found


def words(board: Board) -> tuple[str, str]:
    """Return what the figure shows, for those who do not see it, and what to see in it."""
    methods = priced(board)
    best = front(board)
    told = "; ".join(f"{short(one.name)} {one.cost:.3g} and {one.gap:.3g}" for one in best[:8])
    shown = f"{len(methods)} methods by cost in {_measure(board)} and mean gap"
    alt = f"{shown}. {board.title}. On the front, cost and gap: {told}."
    names = ", ".join(short(one.name) for one in best[:8])
    count = f"{len(best)} methods are" if len(best) > 1 else "One method is"
    caption = (
        f"Lower is nearer to retrained, further left is cheaper. {count} on the "
        f"front, where no other is both (baselines apart): {names}."
    )
    if not board.noise > 0:
        return alt, caption
    within = sum(one.gap <= board.noise for one in methods)
    verb = "is" if within == 1 else "are"
    rest = f"below it nothing can be told from retraining. {within} of {len(methods)} methods {verb} below."
    return alt, f"{caption} The green dashed line is the noise floor, {board.noise:.4f}: {rest}"
