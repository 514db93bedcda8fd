r"""leaderboard.tex: the boards as LaTeX tables (booktabs) to \input, and a small document that compiles as it is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unlearnbench.files.escapes import printable
from unlearnbench.metrics import catalogue
from unlearnbench.report.board import Board, Cell, Line
from unlearnbench.report.headline import Column
from unlearnbench.report.numbers import number
from unlearnbench.report.units import capital

TABLES, DOCUMENT = "leaderboard.tex", "leaderboard_document.tex"
LONG = 40
"""A board with more lines than this is a longtable, which goes on over pages."""
ROUNDING = 1e-9
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}", "-": "{-}",
}  # fmt: skip
"""What LaTeX would take for a command or a ligature; a bracket after a line's end would be an argument of it."""
TYPED = re.compile("[ -~\u00a1-\u00ac\u00ae-\u017f]")
"""The letters that T1 fonts have: ASCII, and those of European languages."""
HEAD = r"""% Written by unlearnbench report --latex. It needs \usepackage{booktabs,longtable}, \usepackage{textcomp} and
% \usepackage[T1]{fontenc}.
"""
AROUND = r"""% Compile with: pdflatex leaderboard_document.tex (twice, for the widths of tables that go on over pages)
\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage[margin=15mm]{geometry}
\usepackage{booktabs,longtable}
\begin{document}
\input{leaderboard.tex}
\end{document}
"""


def write(target: Path, boards: Sequence[Board]) -> None:
    """Write both files into a report's folder; without boards, remove old ones."""
    for name in (TABLES, DOCUMENT):
        (target / name).unlink(missing_ok=True)
    if boards:
        (target / TABLES).write_text(tables(boards), encoding="utf-8")
        (target / DOCUMENT).write_text(AROUND, encoding="utf-8")


def tables(boards: Sequence[Board]) -> str:
    """Return one table a board."""
    return HEAD + "\n".join(_table(board, place) for place, board in enumerate(boards, 1))


def escaped(text: str) -> str:
    """Return text as LaTeX shows it; a letter that its fonts lack by its number, such as U+4E2D."""
    return "".join(
        SPECIAL.get(letter, letter) if TYPED.fullmatch(letter) else f"U+{ord(letter):04X}" for letter in printable(text)
    )


def _table(board: Board, place: int) -> str:
    """Return a board as a table, or where it is long a longtable."""
    columns = (*board.headline.before, *((None,) if board.headline.compared else ()), *board.headline.after)
    titles = ["method", *(column.title if column else "mean gap" for column in columns)]
    titles += ["cost ratio" if board.headline.compared else "seconds"]
    marks = _Marks(board)
    rows = [_row(line, marks) for line in board.lines]
    alone = sum(line.role != "unlearned" for line in board.lines)
    body = [*rows[:alone], r"\midrule", *rows[alone:]]
    head = [r"\toprule", " & ".join(escaped(title) for title in titles) + r" \\", r"\midrule"]
    shape = "l" + "r" * (len(titles) - 1)
    caption = f"\\caption{{{_caption(board)}}}\\label{{tab:unlearnbench-{place}}}"
    small = ["\\begingroup\\footnotesize\\setlength{\\tabcolsep}{4pt}\\renewcommand{\\arraystretch}{1.25}"]
    if len(rows) <= LONG:
        parts = [r"\begin{table}[htbp]", r"\centering", caption, r"\par\medskip", *small]
        parts += [f"\\begin{{tabular}}{{{shape}}}", *head, *body]
        return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", r"\endgroup", r"\end{table}", ""])
    parts = [*small, r"\setlength{\LTcapwidth}{\textwidth}", f"\\begin{{longtable}}{{{shape}}}", caption + r" \\"]
    parts += [*head, r"\endfirsthead", *head, r"\endhead"]
    return "\n".join([*parts, *body, r"\bottomrule", r"\end{longtable}", r"\endgroup", ""])


class _Marks:
    """Which cells of a board are the best of their column, and which within the noise floor of it."""

    def __init__(self, board: Board) -> None:
        self.methods = [line for line in board.lines if line.role == "unlearned"]
        self.target = next((line for line in board.lines if line.role == "retrained"), None)
        self.several = len(self.methods) > 1
        self.board = board
        known = {metric.name: metric for metric in catalogue()}
        self.relative = {name for name, metric in known.items() if metric.relative}

    def before(self, line: Line, at: int) -> str:
        """Return the cell of a column before the mean gap."""
        column = self.board.headline.before[at]
        return self._marked(line, line.before[at], column, [(one, one.before[at]) for one in self.methods])

    def after(self, line: Line, at: int) -> str:
        """Return the cell of a column after the mean gap."""
        column = self.board.headline.after[at]
        return self._marked(line, line.after[at], column, [(one, one.after[at]) for one in self.methods])

    def gap(self, line: Line) -> str:
        """Return the cell of the mean gap, with a star where it is within the noise floor of retrained."""
        known = [one.gap.mean for one in self.methods if not math.isnan(one.gap.mean)] if self.several else []
        star = "*" if line.within_noise else ""
        return _shown(line.gap, line.gap.mean, min(known, default=math.nan), self.board.noise, star)

    def _marked(self, line: Line, cell: Cell, column: Column, every: Sequence[tuple[Line, Cell]]) -> str:
        aims = self._aims(column)
        if line.role != "unlearned" or aims is None or not self.several:
            return _shown(cell)
        away = [abs(one.mean - aims) for _, one in every if not math.isnan(one.mean)]
        floor = self.board.floor.get((column.metric.removeprefix("gap_"), column.split), math.nan)
        return _shown(cell, abs(cell.mean - aims), min(away, default=math.nan), floor)

    def _aims(self, column: Column) -> float | None:
        """Return the value of a perfect method: that of retrained, and 0 for a difference or distance to it."""
        if self.target is None:
            return None
        if column.metric.startswith("gap_") or column.metric in self.relative:
            return 0.0
        columns = (*self.board.headline.before, *self.board.headline.after)
        cells = (*self.target.before, *self.target.after)
        value = cells[columns.index(column)].mean
        return None if math.isnan(value) else value


def _row(line: Line, marks: _Marks) -> str:
    before = [marks.before(line, at) for at in range(len(line.before))]
    after = [marks.after(line, at) for at in range(len(line.after))]
    gap = [marks.gap(line)] if line.seconds is None else []
    last = _shown(line.cost) if line.seconds is None else escaped(line.seconds)
    return " & ".join([escaped(line.name), *before, *gap, *after, last]) + r" \\"


def _shown(cell: Cell, away: float = math.nan, best: float = math.nan, floor: float = math.nan, star: str = "") -> str:
    """Return a cell: bold where it is the best of its column, with a dagger where within the noise floor of that."""
    if math.isnan(cell.mean):
        return ""
    is_best = away <= best + ROUNDING
    mean = number(cell.mean)
    marks = star + (r"\dagger" if not is_best and away <= best + floor else "")
    rest = f"^{{{marks}}}" if marks else ""
    if not math.isnan(cell.low):
        high, low = number(cell.high - cell.mean), number(cell.mean - cell.low)
        rest = rf"^{{+{high}}}_{{-{low}}}{{}}{rest}" if cell.is_cut else rf"{rest} \pm {high}"
    if not is_best:
        return f"${mean}{rest}$"
    return rf"{{\boldmath${mean}$}}" + (f"${{}}{rest}$" if rest else "")  # \mathbf leaves the point as it is


def _caption(board: Board) -> str:
    return escaped(board.title) + ". " + " ".join(_sentences(board))


def _sentences(board: Board) -> Iterator[str]:
    """Yield what a reader of the table must know: seeds, intervals, and what the marks are."""
    counts: Mapping[str, None] = dict.fromkeys(line.counts for line in board.lines if line.role == "unlearned")
    seeds = " or ".join(escaped(count) for count in counts)
    several = any(not math.isnan(cell.low) for line in board.lines for cell in (*line.before, line.gap))
    yield f"Mean over seeds (number of seeds: {seeds})" + (
        r"; $\pm$ is half of the 95\,\% interval (Student's $t$); $^{+a}_{-b}$ is the same interval, cut where the "
        "number's range ends."
        if several
        else "; one seed has no interval."
    )
    yield escaped(capital(board.headline.reading))
    if not board.headline.compared:
        yield "No model was retrained, so nothing is ranked."
        return
    yield "Bold: nearest to retrained in its column, which alone does not show that others are worse."
    if math.isnan(board.noise):
        yield "The noise floor is unknown (one retrained model)."
    else:
        yield (
            r"$\dagger$: within the noise floor of the best, the difference of two retrained models "
            f"({board.noise:.4f} for the mean gap). $*$: mean gap within the noise floor of retrained."
        )
