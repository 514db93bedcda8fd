"""The boards on a terminal: tables as wide as it is, and at most LINES lines a board; leaderboard.md has the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from unlearnbench.errors import counted
from unlearnbench.files.escapes import printable
from unlearnbench.report.board import Board, noise_text
from unlearnbench.report.language import HEADER as BIAS_HEADER
from unlearnbench.report.numbers import number
from unlearnbench.report.reported import HEADER as REPORTED_HEADER

if TYPE_CHECKING:
    from unlearnbench.report import Report

LINES = 40
METHODS = 15
"""The most methods of a board that are shown."""
PIPED = 120
GAP = 3
"""Blanks and lines between two columns."""
"""How wide lines are where there is no terminal."""
NAME = 32
"""The most letters of a name in a table."""
IMPORTANT = ("mean gap", "forget", "retain", "test", "in short", "seeds")
"""What to keep of a board's columns where the terminal is narrow, by how they begin, after the method's name."""


class Section(NamedTuple):
    """A part of a board, what to call it where it is left out ("": it never is), and what it leaves out itself."""

    name: str
    part: RenderableType
    without: tuple[str, ...] = ()


def show(report: Report, folder: Path, console: Console | None = None) -> None:
    """Print the boards of a report that is in a folder."""
    out = console or Console(width=None if Console().is_terminal else PIPED)
    for board in report.boards:
        lines, missing = _lines(board, out)
        out.file.write("".join(lines) + "\n")
        if missing:
            note = f"{folder / 'leaderboard.md'} also has {'; '.join(missing)}."
            out.print(Text(printable(note) + "\n", style="dim"))
    if not report.boards:
        out.print(Text("No finished runs: runs.csv says why."))
    if report.left_out:
        what = counted(len(report.left_out), "file or folder", "files or folders")
        out.print(Text(f"{what} damaged and left out: report.html says which, and why.", style="bold"))


def _lines(board: Board, console: Console) -> tuple[list[str], list[str]]:
    """Return the lines of a board that there is room for, and what is left out."""
    lines: list[str] = []
    missing: list[str] = []
    for one in _sections(board, console.width):
        with console.capture() as captured:
            console.print(one.part)
        more = captured.get().splitlines(keepends=True)
        if one.name and len(lines) + len(more) > LINES - 2:
            missing.append(one.name)
        else:
            lines += more
            missing += one.without
    return lines, list(dict.fromkeys(missing))


def _sections(board: Board, width: int) -> Iterator[Section]:
    """Yield the parts of a board, what matters most first."""
    yield Section("", Text(printable(board.title), style="bold"))
    yield _leaderboard(board, width)
    if board.words:
        yield Section("what the numbers say", Text(printable(" ".join(board.words)) + "\n"))
    yield Section("the noise floor", Text(noise_text(board)))
    for note in (board.premise, board.checkpoint, board.base_note, *board.remarks):
        if note:
            yield Section("more notes", Text(printable(note)))
    for name, note in (("the number of rows", board.rows), ("notes on cost", board.cost_note)):
        if note:
            yield Section(name, Text(printable(note), style="dim"))
    if board.bias:
        yield _made("bias", BIAS_HEADER, board.bias, width)
    if board.reported:
        yield _made("reported and measured", REPORTED_HEADER, [one.cells() for one in board.reported], width)
    for one in board.added:
        yield _made(one.name, one.header, one.lines, width)
    if board.verdicts:
        yield _made("verdicts", board.verdicts.header, board.verdicts.lines, width)


def _leaderboard(board: Board, width: int) -> Section:
    """Return the board's own table, with as many columns as fit, the important ones first."""
    methods = [line for line in board.lines if line.role == "unlearned"]
    shown = {line.name for line in methods[:METHODS]}
    lines = [line for line in board.lines if line.role != "unlearned" or line.name in shown]
    more = (f"{len(methods) - METHODS} more methods",) if len(methods) > METHODS else ()
    header, rows = board.headline.header(), [line.cells(number) for line in lines]
    order = sorted(range(1, len(header)), key=lambda place: (_rank(header[place]), place))
    made = _made("", header, rows, width, [0, *order], [line.role for line in lines])
    return made._replace(without=(*more, *made.without))


def _rank(title: str) -> int:
    return next((rank for rank, start in enumerate(IMPORTANT) if title.startswith(start)), len(IMPORTANT))


def _made(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], width: int, order: Sequence[int] = (),
    roles: Sequence[str] = (),
) -> Section:  # fmt: skip
    """Return a table of the columns that fit, chosen in an `order` and shown in their own; no number is cut short."""
    cells = [[_short(cell) if place == 0 else printable(cell) for place, cell in enumerate(row)] for row in rows]
    longest = [max(map(len, title_of.split())) for title_of in header]
    widths = [max([longest[place], *(len(row[place]) for row in cells)]) for place in range(len(header))]
    chosen: list[int] = []
    left = width
    for place in order or range(len(header)):
        if widths[place] + GAP <= left or not chosen:
            chosen.append(place)
            left -= widths[place] + GAP
    dropped = [name for place, name in enumerate(header) if place not in chosen]
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title=Text(printable(title)) if title else None, title_justify="left"
    )
    for place in sorted(chosen):
        text = place == 0 or header[place] == "in short"
        wrapped = "\n".join(wrap(header[place], widths[place]))
        table.add_column(Text(wrapped), justify="left" if text else "right", no_wrap=True)
    styles = {"retrained": "green", "original": "blue"}
    for role, row in zip(roles or [""] * len(cells), cells, strict=True):
        style = styles.get(role)
        table.add_row(*(Text(row[place]) for place in sorted(chosen)), style=style)
    where = f" of {title}" if title else ""
    without = f"the column{'s' if len(dropped) > 1 else ''} {', '.join(dropped)}{where}"
    return Section(f"the table {title}" if title else "", table, (without,) if dropped else ())


def _short(name: str) -> str:
    """Return a name on one line, cut where it is very long."""
    text = printable(name)
    return text if len(text) <= NAME else f"{text[: NAME - 1]}…"
