"""unlearnbench report: join runs into tables, figures and one HTML page."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.commands.parser import Parser, log_to_terminal
from unlearnbench.errors import DONE


def main(words: list[str]) -> int:
    """Write a report and show its leaderboard; return the exit code."""
    parser = Parser("unlearnbench report", description="Join runs into tables, figures and one HTML page.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="runs, sweeps or outputs folders")
    parser.add_argument("--to", type=Path, default=Path("report"), metavar="FOLDER", help="default: report")
    given = parser.parse_args(words)
    from unlearnbench.report import write

    log_to_terminal()
    target = write(given.folders or [Path("outputs")], given.to)
    print((target / "leaderboard.md").read_text())
    print(f"report: {target / 'report.html'}")
    return DONE
