"""The figures of a report: retain against forget accuracy, and accuracy by method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from unlearnbench.plots.figures import PALETTE, ROLE_COLOURS, figure, plain_text, save, short, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from unlearnbench.report.leaderboard import Board, Cell

COLUMNS = 2
SPAN = 0.3
"""The smallest range of accuracy on an axis."""
TITLE = 72
"""Characters per line of a panel's title."""
LINES = 4
"""The most lines in a panel's title."""
Look = tuple[str, str, int]


@plain_text()
def draw(target: Path, boards: Sequence[Board]) -> list[Path]:
    """Write retain_forget.png and accuracy_by_method.png, with one panel per board; return their paths.

    Where boards show another rate than accuracy, the second is named by that.
    """
    if not boards:
        return []
    methods = sorted({line.name for board in boards for line in board.lines if line.role == "unlearned"})
    looks = {name: _look(number) for number, name in enumerate(methods)}
    looks |= {"retrained": (ROLE_COLOURS["retrained"], "*", 17), "original": ("black", "s", 8)}
    shown = "_and_".join(dict.fromkeys(board.headline.plotted for board in boards))
    paths = [target / "retain_forget.png", target / f"{shown}_by_method.png"]
    for path, panel, size in zip(paths, (_scatter, _bars), ((6.2, 4.6), (7.0, 4.4)), strict=True):
        columns = min(COLUMNS, len(boards))
        rows = math.ceil(len(boards) / columns)
        drawn = figure(size[0] * columns, size[1] * rows)
        every = drawn.subplots(rows, columns, squeeze=False).flatten()
        for axes, board in zip(every, boards, strict=False):
            panel(axes, board, looks)
        for axes in every[len(boards) :]:
            axes.set_visible(False)
        save(drawn, path)
    return paths


def _look(number: int) -> Look:
    """Return a method's colour, marker and size, the same in every panel."""
    return PALETTE[number % len(PALETTE)], "oDv^P"[number // len(PALETTE) % 5], 8


def _scatter(axes: Axes, board: Board, looks: Mapping[str, Look]) -> None:
    for line in board.lines:
        forget, retain = line.rates["forget"], line.rates["retain"]
        colour, marker, size = looks[line.name if line.role == "unlearned" else line.role]
        if line.role == "retrained":
            axes.axvline(forget.mean, color=colour, alpha=0.35, linewidth=1)
            axes.axhline(retain.mean, color=colour, alpha=0.35, linewidth=1)
        axes.errorbar(
            forget.mean,
            retain.mean,
            xerr=spread(forget),
            yerr=spread(retain),
            color=colour,
            marker=marker,
            markersize=size,
            linestyle="",
            capsize=3,
            alpha=0.85,
            clip_on=False,  # draw markers on the edge in full
            label=short(line.name),
        )
    axes.margins(0.12)
    axes.set_xlim(*_rates(_widened(axes.get_xlim())))
    axes.set_ylim(*_rates(_widened(axes.get_ylim())))
    axes.legend(frameon=False, fontsize=8)
    tidy(axes, _title(board.title), x=f"{_rate(board)} on forget", y=f"{_rate(board)} on retain")


def _bars(axes: Axes, board: Board, _looks: Mapping[str, Look]) -> None:
    splits = ("retain", "forget", "test")
    places = range(len(board.lines))
    for number, (split, colour) in enumerate(zip(splits, PALETTE[1:], strict=False)):
        cells = [line.rates[split] for line in board.lines]
        middles = [place + (number - 1) * 0.27 for place in places]
        axes.bar(middles, [cell.mean for cell in cells], 0.27, color=colour, label=split)
        for middle, cell in zip(middles, cells, strict=True):
            axes.errorbar(middle, cell.mean, yerr=spread(cell), color="black", capsize=2, linestyle="")
    axes.set_xticks(list(places), [short(line.name) for line in board.lines], rotation=30, ha="right", fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    tidy(axes, _title(board.title), y=_rate(board))


def _rate(board: Board) -> str:
    """Return the name of the rate that a board's figures show."""
    return board.headline.plotted.replace("_", " ")


def _title(text: str) -> str:
    return fill(text, TITLE, max_lines=LINES, placeholder=" …")


def spread(cell: Cell) -> list[list[float]] | None:
    """Return how far the interval reaches below and above the mean, within [0, 1]; None for one seed."""
    if math.isnan(cell.low):
        return None
    low, high = _rates((cell.low, cell.high))
    return [[cell.mean - low], [high - cell.mean]]


def _widened(limits: tuple[float, float]) -> tuple[float, float]:
    """Widen an axis to at least `SPAN`, so that a small difference looks small."""
    more = max(SPAN - (limits[1] - limits[0]), 0.0) / 2
    return limits[0] - more, limits[1] + more


def _rates(limits: tuple[float, float]) -> tuple[float, float]:
    return max(limits[0], 0.0), min(limits[1], 1.0)
