"""unlearnbench report: join runs into tables, figures and one HTML page; pack them; write evidence of one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.commands.parser import Parser, log_to_terminal
from unlearnbench.errors import DONE, FAILED, UserError

if TYPE_CHECKING:
    from unlearnbench.bundles.unpack import Unpacked


def main(words: list[str]) -> int:
    """Write a report and show its leaderboard, or write a bundle; return the exit code, FAILED for damaged runs."""
    given = _parser().parse_args(words)
    from unlearnbench.request.margins import typed
    from unlearnbench.request.places import writable

    margins = typed(given.margin)
    if given.weights and given.bundle is None:
        raise UserError("--weights is for bundles.\nTry: --bundle FILE.zip --weights")
    if given.bundle is None:
        writable(given.to, "--to ")
    if not given.folders and not Path("outputs").is_dir():
        raise UserError(
            "there is no folder outputs here, so there are no runs to report.\n"
            "Try: unlearnbench report FOLDER, with the outputs= of your runs, or unlearnbench run first"
        )
    log_to_terminal()
    with _runs(given.folders or [Path("outputs")]) as (folders, unpacked):
        if given.bundle is not None:
            return _bundle(folders, given)
        return _report(folders, unpacked, margins, given)


def _parser() -> Parser:
    parser = Parser("unlearnbench report", description="Join runs into tables, figures and one HTML page.")
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="folders of runs or sweeps, whole outputs folders, or bundles, FILE.zip (default: outputs)",
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
        "--evidence", action="store_true", help="of one run: also write evidence.html and evidence.json, for an auditor"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE.zip",
        help="write no report, but pack the runs, so that `unlearnbench verify FILE.zip` can compute the numbers again",
    )  # fmt: skip
    parser.add_argument("--weights", action="store_true", help="with --bundle: pack the unlearned models too")
    parser.add_argument(
        "--latex", action="store_true",
        help="also write leaderboard.tex, a table a board to \\input, and a document around it",
    )  # fmt: skip
    return parser


def _report(
    folders: Sequence[Path], unpacked: Mapping[Path, Unpacked], margins: Mapping[str, float], given: argparse.Namespace
) -> int:
    """Write the report, and evidence where it is asked for, and say where they are."""
    from unlearnbench.report import make
    from unlearnbench.report.collect import collect
    from unlearnbench.report.evidence_page import write as write_evidence
    from unlearnbench.report.terminal import show

    if given.evidence:
        write_evidence(given.to, collect(folders))
    report = make(folders, given.to, margins, latex=given.latex, passing=[one.root for one in unpacked.values()])
    for bundle, one in unpacked.items():
        _name(given.to / "runs.csv", one.root, bundle)
    show(report, given.to)
    if given.latex:
        print(f"LaTeX: {given.to / 'leaderboard.tex'}")
    print(f"report: {given.to / 'report.html'}")
    if given.evidence:
        print(f"evidence: {given.to / 'evidence.html'}, {given.to / 'evidence.json'}")
        print(f"keep {given.to / 'evidence.salt'} to yourself: with it one can find out whether an id was forgotten")
    return FAILED if report.left_out or any(one.problems for one in unpacked.values()) else DONE


@contextmanager
def _runs(places: Sequence[Path]) -> Iterator[tuple[list[Path], dict[Path, Unpacked]]]:
    """Yield folders of runs, and where bundles among the places are unpacked for the moment."""
    from unlearnbench.bundles.unpack import unpacked
    from unlearnbench.files.escapes import printable
    from unlearnbench.report.collect import log

    with ExitStack() as stack:
        folders: list[Path] = []
        found: dict[Path, Unpacked] = {}
        for place in places:
            if place.suffix != ".zip" or not place.is_file():
                folders.append(place)
                continue
            one = stack.enter_context(unpacked(place))
            for path, why in one.problems:
                log.warning("report: %s in %s is left out: %s", printable(path), place, printable(why))
            folders.append(one.runs)
            found[place] = one
        yield folders, found


def _name(table: Path, place: Path, bundle: Path) -> None:
    """Name the bundle in runs.csv: where it was unpacked is gone soon."""
    table.write_text(table.read_text(encoding="utf-8").replace(str(place), str(bundle)), encoding="utf-8")


def _bundle(folders: Sequence[Path], given: argparse.Namespace) -> int:
    """Pack the runs and say what was packed."""
    from unlearnbench.bundles.pack import pack
    from unlearnbench.errors import counted

    done = pack(folders, given.bundle, weights=given.weights)
    print(f"bundle: {given.bundle}, {counted(done.runs, 'run')}, {done.size / 1e6:.1f} MB")
    if done.without_weights:
        some = ", ".join(done.without_weights[:3]) + (", ..." if len(done.without_weights) > 3 else "")
        print(f"without weights, since no model was saved: {counted(len(done.without_weights), 'run')} ({some})")
        print("Try: save_model=true in their command")
    print(f"sha256 of bundle.json: {done.sha256}")
    return DONE
