"""Forget against retain: how far each method is from the retrained model, whose noise is an area."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearnbench.plots.figures import figure, short, tidy
from unlearnbench.plots.labels import name_points
from unlearnbench.plots.looks import FAMILIES, ORIGINAL, RETRAINED, family, legend, points
from unlearnbench.plots.picture import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unlearnbench.report.board import Board, Line

NAMED = 12
"""The most methods with a name and an interval in a panel."""
VISIBLE = 0.006
"""The smallest half side of the noise's area, as a share of the panel: a thinner one would not be seen."""
LEAST = 0.02
"""The smallest half width of a panel, in the rate."""
Limits = tuple[float, float]
Both = tuple[Limits, Limits]


def draw(board: Board) -> Figure:
    """Draw all methods in the plane of forget and retain and, where most are near the target, its surroundings."""
    methods = [line for line in board.lines if line.role == "unlearned" and known(line)]
    target = next((line for line in board.lines if line.role == "retrained" and known(line)), None)
    near = methods[:NAMED]
    zoom = _around(target, near, board) if target else None
    far = [line for line in methods if zoom and not _inside(line, zoom)]
    panels = 2 if zoom and far else 1
    drawn = figure(WIDTH, 5.4)
    every = drawn.subplots(1, panels, squeeze=False).flatten()
    named = far[-NAMED:] if panels == 2 else near
    for axes, shown, of in zip(every, (named, near), (None, zoom), strict=False):
        _panel(axes, board, methods, shown, of)
        if target:
            _target(axes, board, target)
    tidy(every[0], "All methods", x=f"{_rate(board)} on forget", y=f"{_rate(board)} on retain")
    if panels == 2:
        tidy(every[1], f"Near the retrained model: the {len(near)} nearest", x=f"{_rate(board)} on forget")
    legend(drawn, {family(line.name, board.families) for line in methods}, target is not None)
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    crowd = [_place(line) for line in board.lines if known(line)]
    for axes, shown in zip(every, (named, near), strict=False):
        name_points(axes, {line.name: _place(line) for line in shown}, crowd)
    return drawn


def known(line: Line) -> bool:
    """Return whether both rates of a line are known."""
    return not any(math.isnan(line.rates[split].mean) for split in ("forget", "retain"))


def noise(board: Board) -> tuple[float, float]:
    """Return how far two retrained models are apart on forget and on retain; NaN where that is unknown."""
    name = board.headline.plotted
    return board.floor.get((name, "forget"), math.nan), board.floor.get((name, "retain"), math.nan)


def within_noise(board: Board) -> int:
    """Return how many methods are inside the area of the noise."""
    target = next(line for line in board.lines if line.role == "retrained")
    (x, y), size = _place(target), noise(board)
    methods = [line for line in board.lines if line.role == "unlearned" and known(line)]
    slack = 1e-9
    return sum(
        abs(_place(line)[0] - x) <= size[0] + slack and abs(_place(line)[1] - y) <= size[1] + slack for line in methods
    )


def _panel(axes: Axes, board: Board, methods: Sequence[Line], named: Sequence[Line], zoom: Both | None) -> None:
    """Draw the points, the intervals of the named ones, and the target with its area."""
    points(axes, {line.name: _place(line) for line in methods}, board.families)
    for line in named:
        _interval(axes, line, FAMILIES[family(line.name, board.families)].colour)
    for line in board.lines:
        if line.role == "original" and known(line):
            axes.plot(*_place(line), ORIGINAL.marker, markersize=8, markerfacecolor="none", color="black", zorder=4)
    if zoom:
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlim(*zoom[0])
        axes.set_ylim(*zoom[1])
        return
    axes.set_xlim(*_span(axes, 0))
    axes.set_ylim(*_span(axes, 1))


def _target(axes: Axes, board: Board, line: Line) -> None:
    """Draw the retrained model's mean, and as an area how far two retrained models are apart."""
    from matplotlib.patches import Rectangle

    (x, y), (across, up) = _place(line), noise(board)
    axes.axvline(x, color=RETRAINED.colour, alpha=0.35, linewidth=0.9, zorder=1)
    axes.axhline(y, color=RETRAINED.colour, alpha=0.35, linewidth=0.9, zorder=1)
    if not math.isnan(across + up):
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        across, up = max(across, VISIBLE * (right - left)), max(up, VISIBLE * (top - bottom))
        axes.add_patch(
            Rectangle((x - across, y - up), 2 * across, 2 * up, facecolor=RETRAINED.colour, alpha=0.22, zorder=1,
                      edgecolor=RETRAINED.colour, linewidth=2)
        )  # fmt: skip
    axes.plot(x, y, RETRAINED.marker, markersize=17, color=RETRAINED.colour, markeredgecolor="white", zorder=2)


def _interval(axes: Axes, line: Line, colour: str) -> None:
    """Draw the intervals over seeds, where there are any."""
    forget, retain = line.rates["forget"], line.rates["retain"]
    if not math.isnan(forget.low):
        axes.hlines(retain.mean, *_rates((forget.low, forget.high)), color=colour, alpha=0.5, linewidth=0.9, zorder=2)
    if not math.isnan(retain.low):
        axes.vlines(forget.mean, *_rates((retain.low, retain.high)), color=colour, alpha=0.5, linewidth=0.9, zorder=2)


def _around(target: Line, near: Sequence[Line], board: Board) -> Both:
    """Return the limits of a panel around the target that has the nearest methods and the noise in it."""
    sides = []
    for split, apart in zip(("forget", "retain"), noise(board), strict=True):
        middle = target.rates[split].mean
        gaps = [abs(line.rates[split].mean - middle) for line in near]
        half = max(LEAST, 1.3 * max(gaps, default=0.0), 0.0 if math.isnan(apart) else 1.5 * apart)
        sides.append(_rates((middle - half, middle + half), 0.12 * half))
    return sides[0], sides[1]


def _inside(line: Line, limits: Both) -> bool:
    return all(low <= value <= high for value, (low, high) in zip(_place(line), limits, strict=True))


def _span(axes: Axes, which: int) -> Limits:
    """Return limits that hold everything drawn, at least 0.1 wide, with a margin."""
    low, high = (axes.get_xlim, axes.get_ylim)[which]()
    more = max(0.1 - (high - low), 0.08 * (high - low)) / 2
    return _rates((low - more, high + more), 0.02 * (high - low))


def _rates(limits: Limits, margin: float = 0.0) -> Limits:
    """Return limits within [0, 1], and so little beyond that a marker on the edge is whole."""
    return max(limits[0], -margin), min(limits[1], 1.0 + margin)


def _place(line: Line) -> tuple[float, float]:
    return line.rates["forget"].mean, line.rates["retain"].mean


def _rate(board: Board) -> str:
    return board.headline.plotted.replace("_", " ")


def words(board: Board) -> tuple[str, str]:
    """Return what the figure shows, for those who do not see it, and what to see in it."""
    rate, methods = _rate(board), [line for line in board.lines if line.role == "unlearned" and known(line)]
    named = [line for line in board.lines if line.role != "unlearned" and known(line)] + methods[:5]
    told = "; ".join(f"{short(line.name)} {_place(line)[0]:.3f} and {_place(line)[1]:.3f}" for line in named)
    alt = f"{len(methods)} methods by {rate} on forget and on retain. {board.title}. On forget and retain: {told}."
    if not board.headline.compared:
        return alt, f"{rate.capitalize()} on forget and retain. No model was retrained, so nobody knows the target."
    across, up = noise(board)
    caption = (
        f"{rate.capitalize()} on forget and retain. The target is the green star, the retrained model, not a corner. "
    )
    if math.isnan(across + up):
        return alt, caption + "How far two retrained models are apart is unknown."
    inside = within_noise(board)
    return alt, (
        f"{caption}The green area is as far around it as two retrained models are apart, {across:.3f} on forget and "
        f"{up:.3f} on retain: inside it nothing can be told from retraining. {inside} of {len(methods)} methods "
        f"{'is' if inside == 1 else 'are'} there. Lines are 95 % intervals over seeds of the methods that have names; "
        "the table names all."
    )
