"""unlearnbench verify: what is damaged in a run, sweep, outputs folder or cache."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.commands.parser import Parser
from unlearnbench.errors import DONE, FAILED


def main(words: list[str]) -> int:
    """Show what is damaged, a line a problem; return the exit code."""
    parser = Parser(
        "unlearnbench verify",
        description="Read every file again, and say what is not as it was written: a line a problem, the counts last.",
        epilog="Exit codes: 0 all is well, 1 something is wrong, 2 the folder is none of these. A damaged run or stage "
        "is made again by the run's own command.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a run, a sweep, an outputs folder or a cache")
    given = parser.parse_args(words)
    from unlearnbench.files.escapes import printable
    from unlearnbench.runs.verify import verify

    found = verify(given.folder)
    for line in found.lines():
        print(printable(line))
    return FAILED if found.problems else DONE
