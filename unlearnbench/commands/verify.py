"""unlearnbench verify: what is damaged in a run, sweep, outputs folder or cache."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.commands.parser import Parser
from unlearnbench.errors import DONE, FAILED


def main(words: list[str]) -> int:
    """Show what is damaged, a line a problem; return the exit code."""
    parser = Parser(
        "unlearnbench verify",
        description="Read every file again and report what has changed: one line per problem, then the counts.",
        epilog="Exit codes: 0 everything is sound, 1 something is damaged, 2 the folder is none of these. To replace a "
        "damaged run or stage, run its command again.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a run, a sweep, an outputs folder or a cache")
    given = parser.parse_args(words)
    from unlearnbench.files.escapes import printable
    from unlearnbench.runs.verify import verify

    found = verify(given.folder)
    for line in found.lines():
        print(printable(line))
    return FAILED if found.problems else DONE
