"""Small multiples, a panel for each method: paths of the unlearning, and what comes back in relearning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.plots.figures import figure, short
from unlearnbench.plots.looks import RETRAINED, SPLITS
from unlearnbench.plots.picture import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5
MOST = 30
"""The most methods of a figure, those nearest to retrained."""
PANEL, REST = 1.75, 0.95
"""The height of a row of panels, and of what is around them, in inches."""
LETTERS = 25
"""The most characters of a panel's title."""
LINES = {"original": ("#000000", ":"), "retrained": (RETRAINED.colour, "--")}
Curve = Sequence[tuple[int, float]]
"""Values by step, in order."""


@dataclass(frozen=True)
class Curves:
    """What a board's runs measured step by step, as means over seeds, of methods in the order of the board.

    `paths` are points (step, forget, retain) of each method along its unlearning. `relearned` are, by method and by the
    roles original and retrained, values on the held half of forget while a model is trained on the other.
    """

    rate: str
    paths: Mapping[str, Sequence[tuple[int, float, float]]]
    relearned: Mapping[str, Curve]
    target: tuple[float, float] | None = None

    @property
    def methods(self) -> list[str]:
        """The methods that were relearned."""
        return [name for name in self.relearned if name not in LINES]


def paths(curves: Curves) -> Figure:
    """Draw each method's path in the plane of forget and retain, from the original on."""

    def panel(axes: Axes, name: str) -> None:
        points = curves.paths[name]
        forget, retain = [point[1] for point in points], [point[2] for point in points]
        axes.plot(forget, retain, "-", marker=".", color=SPLITS["forget"].colour, linewidth=1.1, markersize=5)
        axes.plot(forget[0], retain[0], "s", markersize=6, markerfacecolor="none", color="black")
        axes.plot(forget[-1], retain[-1], "o", markersize=6, color=SPLITS["forget"].colour)
        if curves.target:
            axes.plot(*curves.target, RETRAINED.marker, markersize=11, color=RETRAINED.colour, zorder=1)

    values = [value for points in curves.paths.values() for point in points for value in point[1:]]
    low = max(min(values, default=0.0) - 0.05, -0.03)
    return _grid(
        list(curves.paths), panel, (low, 1.03), (low, 1.03), f"{curves.rate} on forget", f"{curves.rate} on retain"
    )


def relearned(curves: Curves) -> Figure:
    """Draw each method's curve while it relearns, with the original's and the retrained model's."""
    steps = sorted({step for curve in curves.relearned.values() for step, _ in curve})
    place = {step: at for at, step in enumerate(steps)}

    def panel(axes: Axes, name: str) -> None:
        for role, (colour, line) in LINES.items():
            if role in curves.relearned:
                axes.plot(*_xy(curves.relearned[role], place), line, color=colour, linewidth=1.1)
        axes.plot(*_xy(curves.relearned[name], place), "-", marker=".", color=SPLITS["forget"].colour, linewidth=1.4)
        shown = range(0, len(steps), max(1, math.ceil(len(steps) / 4)))
        axes.set_xticks(list(shown), [str(steps[at]) for at in shown])

    across = (-0.3, max(len(steps) - 0.7, 0.3))
    return _grid(curves.methods, panel, across, (-0.03, 1.03), "steps", f"{curves.rate}, other half")


def _xy(curve: Curve, place: Mapping[int, int]) -> tuple[list[int], list[float]]:
    return [place[step] for step, _ in curve], [value for _, value in curve]


def _grid(
    names: Sequence[str],
    panel: Callable[[Axes, str], None],
    across: tuple[float, float],
    up: tuple[float, float],
    x: str,
    y: str,
) -> Figure:
    """Return a figure with a panel for each of the first names, all with the same axes."""
    names = names[:MOST]
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    height = PANEL * rows + REST
    drawn = figure(WIDTH, height, layout=None)
    every = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    drawn.subplots_adjust(
        left=0.075, right=0.99, bottom=0.6 / height, top=1 - 0.3 / height, wspace=0.12, hspace=0.5 / PANEL
    )
    for axes, name in zip(every, names, strict=False):
        panel(axes, name)
        axes.set_title(short(name, LETTERS), fontsize=9, loc="left", pad=3)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    every[0].set_xlim(*across)
    every[0].set_ylim(*up)
    for axes in every[len(names) :]:
        axes.set_visible(False)
    for axes in every[max(len(names) - columns, 0) : len(names)]:  # also where the panel below is empty
        axes.tick_params(labelbottom=True)
    drawn.supxlabel(x, fontsize=9, y=0.06 / height)
    drawn.supylabel(y, fontsize=9, x=0.005)
    return drawn


def words_of_paths(curves: Curves, title: str) -> tuple[str, str]:
    """Return what the figure of paths shows, and what to see in it."""
    ends = {name: points[-1] for name, points in curves.paths.items()}
    told = "; ".join(f"{short(name)} {end[1]:.3f} and {end[2]:.3f}" for name, end in list(ends.items())[:6])
    alt = f"Paths of {len(ends)} methods in the plane of forget and retain. {title}. They end at: {told}."
    return alt, (
        "The path of each method from the original (square) to its end (dot), one panel a method. The star is the "
        "retrained model: does the path lead to it, past it, or away from it?" + _beyond(len(ends))
    )


def words_of_relearned(curves: Curves, title: str) -> tuple[str, str]:
    """Return what the figure of relearning shows, and what to see in it."""
    names = [name for name in (*LINES, *curves.methods) if name in curves.relearned][:7]
    told = "; ".join(
        f"{short(name)} {curves.relearned[name][0][1]:.2f} to {curves.relearned[name][-1][1]:.2f}" for name in names
    )
    alt = (
        f"{curves.rate.capitalize()} on one half of forget while {len(curves.methods)} models relearn the other half. "
    )
    return f"{alt}{title}. From first to last step: {told}.", (
        "What comes back while a model is trained on half of the forget rows, measured on the other half. Dashed: "
        "retrained, which never knew them. Dotted: the original. A method that has forgotten follows the dashed line; "
        "one that rises sooner still knew." + _beyond(len(curves.methods))
    )


def _beyond(count: int) -> str:
    return f" {count - MOST} methods further away are in summary.csv alone." if count > MOST else ""
