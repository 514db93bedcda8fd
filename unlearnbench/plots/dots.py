"""Each method's rates as dots: as high as there are methods, so that names never lie on each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearnbench.plots.figures import figure, short, tidy
from unlearnbench.plots.looks import SPLITS
from unlearnbench.plots.picture import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from unlearnbench.report.board import Board, Line

MOST = 60
"""The most methods of the figure; the others are in the table."""
ROW, REST = 0.21, 1.25
"""The height of a row, and of what is not a row, in inches."""
SPAN = 0.3
"""The smallest range of the rate."""


def shown(board: Board) -> list[Line]:
    """Return the lines of the figure: the references, and the first methods."""
    methods = [line for line in board.lines if line.role == "unlearned"]
    return [line for line in board.lines if line.role != "unlearned"] + methods[:MOST]


def draw(board: Board) -> Figure:
    """Draw a row for each line, with a dot and an interval for each split, and lines at retrained's values."""
    lines = shown(board)
    drawn = figure(WIDTH, ROW * len(lines) + REST)
    axes = drawn.subplots()
    for at in range(0, len(lines), 2):
        axes.axhspan(at - 0.5, at + 0.5, color="#f3f4f6", zorder=0, linewidth=0)
    for number, split in enumerate(SPLITS):
        _dots(axes, lines, split, (number - 1) * 0.24)
    for line in lines:
        if line.role == "retrained":
            for split, look in SPLITS.items():
                axes.axvline(line.rates[split].mean, color=look.colour, linewidth=0.9, linestyle="--", alpha=0.7,
                             zorder=1)  # fmt: skip
    axes.set_yticks(range(len(lines)), [short(line.name) for line in lines], fontsize=9)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(*_limits(lines))
    rate = board.headline.plotted.replace("_", " ")
    tidy(axes, f"{rate.capitalize()} by method", x=f"{rate} (dashed: retrained)")
    drawn.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    return drawn


def _dots(axes: Axes, lines: Sequence[Line], split: str, shift: float) -> None:
    look = SPLITS[split]
    cells = [line.rates[split] for line in lines]
    rows = [at + shift for at in range(len(lines))]
    axes.scatter(
        [cell.mean for cell in cells], rows, s=20, color=look.colour, marker=look.marker, label=split, zorder=3
    )
    known = [(row, cell) for row, cell in zip(rows, cells, strict=True) if not math.isnan(cell.low)]
    if known:
        lows, highs = [max(cell.low, 0.0) for _, cell in known], [min(cell.high, 1.0) for _, cell in known]
        axes.hlines([row for row, _ in known], lows, highs, color=look.colour, linewidth=1.1, alpha=0.55, zorder=2)


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the range of all rates and intervals with a margin: within [0, 1], and at least SPAN wide."""
    cells = [cell for line in lines for cell in line.rates.values() if not math.isnan(cell.mean)]
    ends = [end for cell in cells for end in (cell.mean, cell.low, cell.high) if not math.isnan(end)]
    low, high = max(min(ends, default=0.0), 0.0), min(max(ends, default=1.0), 1.0)
    more = max((SPAN - (high - low)) / 2, 0.03)
    return max(low - more, -0.01), min(high + more, 1.01)


def words(board: Board) -> tuple[str, str]:
    """Return what the figure shows, for those who do not see it, and what to see in it."""
    lines = shown(board)
    rate, of_all = board.headline.plotted.replace("_", " "), sum(line.role == "unlearned" for line in board.lines)
    told = "; ".join(
        f"{short(line.name)} {', '.join(f'{line.rates[split].mean:.3f}' for split in SPLITS)}" for line in lines[:7]
    )
    alt = f"{rate.capitalize()} on {', '.join(SPLITS)} of each method. {board.title}. {told}."
    first = "nearest to retrained first" if board.headline.compared else "in alphabetical order"
    caption = f"{rate.capitalize()} of each method on retain, forget and test, {first}; lines are 95 % intervals."
    if board.headline.compared:
        caption += " A method is good where its dots lie on the dashed lines of the same colour."
    left_out = of_all - MOST
    return alt, caption + (f" {left_out} methods further away are in the table alone." if left_out > 0 else "")
