"""unlearnbench verify: what is damaged or wrong in a folder, a bundle or a page of evidence."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from unlearnbench.commands.parser import Parser, log_to_terminal
from unlearnbench.errors import DONE, FAILED, UserError


class Found(Protocol):
    """What was looked at."""

    @property
    def problems(self) -> Sequence[Any]:
        """What is wrong."""

    def lines(self) -> Iterator[str]:
        """Yield what to say, a line a problem."""


def main(words: list[str]) -> int:
    """Show what is wrong, a line a problem; return the exit code."""
    parser = Parser(
        "unlearnbench verify",
        description="A folder: read every file again and report what has changed. A bundle: also compute its numbers "
        "again from the scores in it. Evidence: whether ids are among those that were to be forgotten.",
        epilog="Exit codes: 0 all is well, 1 something is damaged or wrong, 2 nothing that can be verified. To replace "
        "a damaged run or stage, run its command again.",
    )
    parser.add_argument(
        "place", type=Path, metavar="PLACE",
        help="a run, a sweep, an outputs folder or a cache; a bundle, FILE.zip; or evidence.json, or its folder",
    )  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        help="of a bundle: leave out the attacks that are fitted to scores, which take most of the time",
    )
    parser.add_argument("--ids", type=Path, metavar="FILE", help="of evidence: ids to look for, one a line")
    parser.add_argument("--salt", type=Path, metavar="FILE", help="of evidence: the salt that was written beside it")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="of evidence: the run that it should be about")
    given = parser.parse_args(words)
    from unlearnbench.files.escapes import printable

    log_to_terminal()
    is_bundle = given.place.suffix == ".zip" and not given.place.is_dir()
    is_evidence = given.place.suffix == ".json" or (given.place / "evidence.json").is_file()
    if (given.ids or given.salt or given.run) and not is_evidence:
        raise UserError(
            f"--ids, --salt and --run are about evidence, and {given.place} is none.\n"
            "Try: unlearnbench verify report/evidence.json --ids FILE --salt FILE"
        )
    if given.quick and not is_bundle:
        raise UserError(f"--quick is about bundles, and {given.place} is none.\nTry: without --quick")
    found = _found(given.place, is_bundle, is_evidence, given)
    for line in found.lines():
        print(printable(line))
    return FAILED if found.problems else DONE


def _found(place: Path, is_bundle: bool, is_evidence: bool, given: argparse.Namespace) -> Found:
    if is_bundle:
        from unlearnbench.bundles.check import check

        return check(place, fitted=not given.quick)
    if is_evidence:
        from unlearnbench.report.attested import attested

        return attested(place, given.ids, given.salt, given.run)
    from unlearnbench.runs.verify import verify

    return verify(place)
