"""The report: join any number of runs into tables, figures and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

    from unlearnbench.report.board import Board
    from unlearnbench.report.collect import Runs


@dataclass(frozen=True)
class Report:
    """What a report found: its boards, and what is damaged and left out, with the reason."""

    boards: tuple[Board, ...]
    left_out: tuple[tuple[str, str], ...]


def write(
    folders: Sequence[Path], target: Path, margins: Mapping[str, float] | None = None, *, latex: bool = False
) -> Path:
    """Join the runs at or below the folders (runs, sweeps, outputs) into `target`, and return it; see `make`."""
    make(folders, target, margins, latex=latex)
    return target


def make(
    folders: Sequence[Path],
    target: Path,
    margins: Mapping[str, float] | None = None,
    *,
    latex: bool = False,
    passing: Sequence[Path] = (),
) -> Report:
    """Join the runs at or below the folders (runs, sweeps, outputs) into `target`, and return what was found.

    Writes results.csv, runs.csv, summary.csv, leaderboard.md, the figures, report.html, verdicts.csv if runs state
    margins, paired.csv if methods share seeds, reported.csv if they have published numbers, and with `latex` the tables
    for LaTeX. `margins` count before those that the runs state. Runs in the `passing` folders, which will soon be gone,
    get no links. Raises UserError if a folder does not exist or has no runs, for a margin of what no run has measured,
    or if the target is not writable.
    """
    from unlearnbench.plots import report as plots
    from unlearnbench.report import latex as tex
    from unlearnbench.report.collect import collect
    from unlearnbench.report.html import page
    from unlearnbench.report.leaderboard import boards
    from unlearnbench.report.markdown import markdown
    from unlearnbench.report.summary import summarise
    from unlearnbench.request.margins import refuse_unknown
    from unlearnbench.request.places import writable

    writable(target, "--to ")
    runs = collect(folders)
    summary = summarise(runs)
    refuse_unknown(margins or {}, runs.results["metric"].unique())
    groups = boards(runs, summary, margins or {})
    target.mkdir(parents=True, exist_ok=True)
    _tables(target, runs, summary, groups)
    tex.write(target, groups if latex else [])
    (target / "leaderboard.md").write_text(markdown(groups, runs.left_out), encoding="utf-8", errors="replace")
    figures = plots.draw(target, groups)
    (target / "report.html").write_text(
        page(runs, groups, figures, target, passing), encoding="utf-8", errors="replace"
    )
    return Report(tuple(groups), runs.left_out)


def _tables(target: Path, runs: Runs, summary: pandas.DataFrame, groups: Sequence[Board]) -> None:
    """Write the CSV files."""
    import pandas

    from unlearnbench.report.over_seeds import write as write_across
    from unlearnbench.report.reported import csv_rows
    from unlearnbench.report.verdicts import csv_rows as tested

    _table(target / "results.csv", runs.results, always=True)
    _table(target / "runs.csv", runs.table, always=True)
    write_across(target, [row for board in groups for row in board.across])
    _table(target / "summary.csv", summary, always=True)
    _table(target / "reported.csv", csv_rows(one for board in groups for one in board.reported))
    _table(target / "verdicts.csv", tested([board.verdicts for board in groups if board.verdicts]))
    _table(target / "paired.csv", pandas.DataFrame([row for board in groups for row in board.paired]))


def _table(file: Path, rows: pandas.DataFrame, *, always: bool = False) -> None:
    """Write a CSV; where it has no rows, and is not to be there always, remove an old one."""
    from unlearnbench.files.escapes import csv_table

    file.unlink(missing_ok=True)
    if always or len(rows):
        csv_table(rows).to_csv(file, index=False, lineterminator="\n")
