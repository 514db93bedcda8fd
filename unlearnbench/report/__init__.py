"""The report: join any number of runs into tables, figures and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def write(folders: Sequence[Path], target: Path, margins: Mapping[str, float] | None = None) -> Path:
    """Join the runs at or below the folders (runs, sweeps, outputs) into `target`, and return it.

    Writes results.csv, runs.csv, summary.csv, leaderboard.md, the figures, report.html, verdicts.csv if runs state
    margins, and reported.csv if they have published numbers. `margins` count before those that the runs state. Raises
    UserError if a folder does not exist or has no runs, for a margin of what no run has measured, or if the target is
    not writable.
    """
    from unlearnbench.files.escapes import csv_table
    from unlearnbench.plots import report as plots
    from unlearnbench.report.collect import collect
    from unlearnbench.report.html import page
    from unlearnbench.report.leaderboard import boards
    from unlearnbench.report.markdown import markdown
    from unlearnbench.report.over_seeds import write as write_across
    from unlearnbench.report.reported import csv_rows
    from unlearnbench.report.summary import summarise
    from unlearnbench.report.verdicts import csv_rows as tested
    from unlearnbench.request.margins import refuse_unknown
    from unlearnbench.request.places import writable

    writable(target, "--to ")
    runs = collect(folders)
    summary = summarise(runs)
    refuse_unknown(margins or {}, runs.results["metric"].unique())
    groups = boards(runs, summary, margins or {})
    target.mkdir(parents=True, exist_ok=True)
    csv_table(runs.results).to_csv(target / "results.csv", index=False, lineterminator="\n")
    csv_table(runs.table).to_csv(target / "runs.csv", index=False, lineterminator="\n")
    write_across(target, [row for board in groups for row in board.across])
    csv_table(summary).to_csv(target / "summary.csv", index=False, lineterminator="\n")
    published = [one for board in groups for one in board.reported]
    (target / "reported.csv").unlink(missing_ok=True)
    if published:
        csv_table(csv_rows(published)).to_csv(target / "reported.csv", index=False, lineterminator="\n")
    (target / "verdicts.csv").unlink(missing_ok=True)
    if any(board.verdicts for board in groups):
        rows = tested([board.verdicts for board in groups if board.verdicts])
        csv_table(rows).to_csv(target / "verdicts.csv", index=False, lineterminator="\n")
    (target / "leaderboard.md").write_text(markdown(groups), encoding="utf-8", errors="replace")
    figures = plots.draw(target, groups)
    (target / "report.html").write_text(page(runs, groups, figures, target), encoding="utf-8", errors="replace")
    return target
