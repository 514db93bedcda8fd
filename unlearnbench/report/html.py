"""A self-contained HTML page: tables that sort and filter, figures, links to the runs; all values are escaped.

The page states a policy that lets it load nothing and run no script but its own, `report.js`.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from unlearnbench.plots.picture import Picture
from unlearnbench.report.board import SEEDS, Board, noise_text, readings
from unlearnbench.report.collect import Runs
from unlearnbench.report.evidence_page import section
from unlearnbench.report.exposed import READING as EXPOSED
from unlearnbench.report.headline import CHOICES
from unlearnbench.report.language import HEADER as BIAS_HEADER
from unlearnbench.report.language import METRICS as BIAS_METRICS
from unlearnbench.report.language import READING
from unlearnbench.report.numbers import three
from unlearnbench.report.reported import HEADER as REPORTED_HEADER
from unlearnbench.report.reported import NOTE
from unlearnbench.report.verdicts import READING as VERDICTS
from unlearnbench.request.compose import SHOWN_RUNS

if TYPE_CHECKING:
    from jinja2 import Template

FLOORS = ("accuracy", "kl_from_retrained", "js_to_retrained", "activation_distance", "zrf", "mia_confidence")
ANSWER_FLOORS = ("answer_nll", "rouge_l", "exact_memorisation", "extraction_strength", "mia_auc")
LARGEST = 6 * 2**20
"""The most bytes of figures in the page, so that it stays below 10 MB; further ones are files beside it."""
COMMANDS = 20
"""The most command lines in the page."""
FILES = ("config.yaml", "result.json", "metrics.csv", "run.log", "plots")
"""What of a run's folder the page links to."""
RUN_HEADER = ("method", "data set", "model", "forget", "seed", "status", "seconds", "cost ratio")


class Drawn(NamedTuple):
    """A figure of the page: its PNG in base64, or "" where it is too much, and its files in each format."""

    name: str
    data: str
    alt: str
    caption: str
    files: tuple[str, ...]


class OfRun(NamedTuple):
    """A run: the cells of its row, its folder's name and link, and the files that are there with their links."""

    cells: tuple[str, ...]
    name: str
    link: str
    files: tuple[tuple[str, str], ...]


def page(
    runs: Runs,
    boards: Sequence[Board],
    figures: Sequence[Sequence[Picture]],
    target: Path,
    passing: Sequence[Path] = (),
) -> str:
    """Return report.html as text, for a report in the folder `target`; runs in `passing` folders get no links."""
    from markupsafe import Markup

    style, script = (_own(f"report.{end}") for end in ("css", "js"))
    table = runs.table
    inlined = _within_limit(figures)
    return _template().render(
        style=style,
        script=script,
        three=three,
        policy=_policy(style, script),
        choices=_choices(runs, boards),
        compared=any(board.headline.compared for board in boards),
        readings=[f"{one} {SEEDS}" for one in readings(boards)],
        bias_header=BIAS_HEADER,
        bias_note=READING if any(board.bias for board in boards) else "",
        reported_header=REPORTED_HEADER,
        reported_note=NOTE if any(board.reported for board in boards) else "",
        verdicts_note=VERDICTS if any(board.verdicts for board in boards) else "",
        exposed_note=EXPOSED if any(board.exposed for board in boards) else "",
        boards=[
            (board, noise_text(board), _floor_rows(board), inlined[at] if at < len(inlined) else [])
            for at, board in enumerate(boards)
        ],
        without_figures=len(boards) - len(inlined) if inlined else 0,
        of_runs=_figures_of_runs(runs),
        every_run=_known_columns(list(_every_run(runs, target, passing))),
        left_out=runs.left_out,
        counts=table["status"].value_counts().to_dict(),
        seeds=sorted(int(seed) for seed in table["seed"].unique()),
        unfinished=table[table["status"] != "done"].to_dict("records"),
        evidence=Markup(section(runs, target)),
        provenance=_provenance(runs),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_own("report.html.jinja"))


def _own(name: str) -> str:
    return files("unlearnbench.report").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the page's Content-Security-Policy: nothing is loaded, and no style or script runs but these."""

    def source(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    own = f"style-src {source(style)}; script-src {source(script)}"
    return f"default-src 'none'; img-src data:; {own}; base-uri 'none'; form-action 'none'"


def _choices(runs: Runs, boards: Sequence[Board]) -> list[tuple[str, str, list[str]]]:
    """Return the filters of the page that have several values: name, label and values."""
    table = runs.table
    found = [("family", "family", sorted({one for board in boards for one in board.families.values()}))]
    labels = {"forget": "forget set", "model": "model", "dataset": "data set"}
    found += [(name, label, sorted(filter(None, map(str, table[name].unique())))) for name, label in labels.items()]
    return [choice for choice in found if len(choice[2]) > 1]


def _within_limit(figures: Sequence[Sequence[Picture]]) -> list[list[Drawn]]:
    """Return the figures of each board with their data, as long as all are small enough for one page."""
    left = LARGEST
    found: list[list[Drawn]] = []
    for pictures in figures:
        found.append([])
        for one in pictures:
            data = base64.b64encode(one.file.read_bytes()).decode()
            left -= len(data)
            names = tuple(file.name for file in one.files)
            found[-1].append(Drawn(one.file.stem, data if left >= 0 else "", one.alt, one.caption, names))
    return found


def _figures_of_runs(runs: Runs) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return each finished run's folder name and figures; none where there are more than `SHOWN_RUNS` runs."""
    done = [runs.folders[str(run_id)] for run_id in runs.table[runs.table["status"] == "done"]["run_id"]]
    if len(done) > SHOWN_RUNS:
        return []
    found = [(run.name, _inlined(sorted((run / "plots").glob("[!.]*.png")))) for run in done]
    return [(name, figures) for name, figures in found if figures]


def _inlined(figures: Iterable[Path]) -> list[tuple[str, str]]:
    return [(path.stem.replace("_", " "), base64.b64encode(path.read_bytes()).decode()) for path in figures]


def _every_run(runs: Runs, target: Path, passing: Sequence[Path]) -> Iterable[OfRun]:
    """Yield the runs with relative links to their folders and files, where these are there to stay."""
    columns = ["run_id", "variant", "dataset", "model", "forget", "seed", "status", "seconds", "cost_ratio"]
    link = _links_from(target)
    rows = runs.table[runs.table["run_id"] != ""][columns]
    rows = rows.sort_values(["dataset", "model", "forget", "variant", "seed"])
    for run_id, *names, seconds, cost in rows.itertuples(index=False):
        folder = runs.folders[str(run_id)]
        stays = not any(folder.is_relative_to(one) for one in passing)
        there = set(os.listdir(folder)) if stays else set()
        cells = (*map(str, names), _number(seconds, 1), _number(cost, 3))
        linked = tuple((name, link(folder / name)) for name in FILES if name in there)
        yield OfRun(cells, folder.name, link(folder) if stays else "", linked)


def _known_columns(found: Sequence[OfRun]) -> tuple[tuple[str, ...], list[OfRun]]:
    """Return the header of the runs' table and its rows, without columns in which no run has anything."""
    kept = [at for at in range(len(RUN_HEADER)) if any(run.cells[at] for run in found)]
    rows = [run._replace(cells=tuple(run.cells[at] for at in kept)) for run in found]
    return (*(RUN_HEADER[at] for at in kept), "folder", "files"), rows


def _links_from(target: Path) -> Callable[[Path], str]:
    """Return a function that gives the relative link from the report's folder to a file."""
    base = os.path.realpath(target)
    return lambda file: quote(os.path.relpath(os.path.realpath(file), base), errors="replace")


def _number(value: object, digits: int) -> str:
    known = isinstance(value, int | float) and value == value
    return f"{value:.{digits}f}" if known else ""


def _floor_rows(board: Board) -> list[tuple[str, str, str]]:
    shown = FLOORS if board.headline.ranked_by == CHOICES.ranked_by else ANSWER_FLOORS
    of_bias = BIAS_METRICS if board.bias else ()
    return [
        (metric, split, f"{value:.4f}")
        for (metric, split), value in sorted(board.floor.items())
        if (metric in shown and split in ("retain", "forget", "test")) or (metric, split) in of_bias
    ]


def _provenance(runs: Runs) -> list[tuple[str, str]]:
    """Return the facts about how the runs were made, each with all its values."""
    commands = sorted({result.command for result in runs.facts.values() if result.command})
    rows = [("command", command) for command in commands[:COMMANDS]]
    if len(commands) > COMMANDS:
        rows.append(("command", f"and {len(commands) - COMMANDS} more: each run's result.json has its own"))
    for name in ("device", "threads", "precision", "git_revision"):
        values = {str(getattr(result, name)) for result in runs.facts.values() if getattr(result, name)}
        rows.append((name.replace("_", " "), ", ".join(sorted(values))))
    packages = sorted({package for result in runs.facts.values() for package in result.versions})
    for package in packages:
        values = {result.versions.get(package, "") for result in runs.facts.values()}
        rows.append((package, ", ".join(sorted(values))))
    return rows
