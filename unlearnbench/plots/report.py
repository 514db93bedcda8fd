"""The figures of a report, for each board: forget against retain, cost against gap, rates, paths, relearning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.plots import cost, dots, multiples, tradeoff
from unlearnbench.plots.figures import plain_text
from unlearnbench.plots.picture import Picture, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from unlearnbench.report.board import Board

Drawing = tuple[str, Callable[[], "Figure"], tuple[str, str]]
MOST = 6
"""The most boards that have figures: each takes seconds, and nobody looks at more."""
NAMES = ("retain_forget", "cost_gap", "*_by_method", "paths", "relearning")


@plain_text()
def draw(target: Path, boards: Sequence[Board]) -> list[list[Picture]]:
    """Write the figures of the first boards as PNG, SVG and PDF; return them board by board.

    With several boards their names end with the board's number: retain_forget_2.png. Those of an older report in the
    folder are removed.
    """
    for name in NAMES:
        for end in ("png", "svg", "pdf"):
            for old in (*target.glob(f"{name}.{end}"), *target.glob(f"{name}_[0-9]*.{end}")):
                old.unlink()
    return [
        [_drawn(target, number if len(boards) > 1 else 0, one) for one in _drawings(board)]
        for number, board in enumerate(boards[:MOST], 1)
    ]


def _drawn(target: Path, number: int, drawing: Drawing) -> Picture:
    name, drawn, (alt, caption) = drawing
    picture = Picture(file=target / f"{name}{f'_{number}' if number else ''}.png", alt=alt, caption=caption)
    save(drawn(), picture)
    return picture


def _drawings(board: Board) -> Iterator[Drawing]:
    """Yield the name, the drawing and the words of each figure that a board has the numbers for."""
    if any(tradeoff.known(line) for line in board.lines):
        yield "retain_forget", lambda: tradeoff.draw(board), tradeoff.words(board)
    if cost.priced(board):
        yield "cost_gap", lambda: cost.draw(board), cost.words(board)
    yield f"{board.headline.plotted}_by_method", lambda: dots.draw(board), dots.words(board)
    curves = board.curves
    if curves and curves.paths:
        yield "paths", lambda: multiples.paths(curves), multiples.words_of_paths(curves, board.title)
    if curves and curves.methods:
        yield "relearning", lambda: multiples.relearned(curves), multiples.words_of_relearned(curves, board.title)
