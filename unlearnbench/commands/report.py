"""unlearnbench report: join runs into tables, figures and one HTML page."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.commands.parser import Parser, log_to_terminal
from unlearnbench.errors import DONE, FAILED, UserError


def main(words: list[str]) -> int:
    """Write a report and show its leaderboard; return the exit code, FAILED where something is damaged."""
    parser = Parser("unlearnbench report", description="Join runs into tables, figures and one HTML page.")
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="folders of runs or sweeps, or whole outputs folders (default: outputs)",
    )
    parser.add_argument(
        "--to", type=Path, default=Path("report"), metavar="FOLDER", help="where to write it (default: report)"
    )
    parser.add_argument(
        "--margin", action="append", default=[], metavar="NAME=NUMBER",
        help="how far from retrained's a metric may be that a verdict calls equivalent, such as accuracy=0.01; for all "
        "metrics of a unit rate=0.01 (default: what the runs state)",
    )  # fmt: skip
    parser.add_argument(
        "--latex", action="store_true",
        help="also write leaderboard.tex, a table a board to \\input, and a document around it",
    )  # fmt: skip
    given = parser.parse_args(words)
    from unlearnbench.request.margins import typed
    from unlearnbench.request.places import writable

    margins = typed(given.margin)
    writable(given.to, "--to ")
    if not given.folders and not Path("outputs").is_dir():
        raise UserError(
            "there is no folder outputs here, so there are no runs to report.\n"
            "Try: unlearnbench report FOLDER, with the outputs= of your runs, or unlearnbench run first"
        )
    from unlearnbench.report import make
    from unlearnbench.report.terminal import show

    log_to_terminal()
    report = make(given.folders or [Path("outputs")], given.to, margins, latex=given.latex)
    show(report, given.to)
    if given.latex:
        print(f"LaTeX: {given.to / 'leaderboard.tex'}")
    print(f"report: {given.to / 'report.html'}")
    return FAILED if report.left_out else DONE
