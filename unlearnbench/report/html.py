"""A self-contained HTML page with inlined tables and figures and all values escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

from unlearnbench.report.collect import Runs
from unlearnbench.report.exposed import READING as EXPOSED
from unlearnbench.report.headline import CHOICES
from unlearnbench.report.language import HEADER as BIAS_HEADER
from unlearnbench.report.language import METRICS as BIAS_METRICS
from unlearnbench.report.language import READING
from unlearnbench.report.leaderboard import SEEDS, Board, noise_text, readings
from unlearnbench.report.reported import HEADER as REPORTED_HEADER
from unlearnbench.report.reported import NOTE
from unlearnbench.report.verdicts import READING as VERDICTS
from unlearnbench.request.compose import SHOWN_RUNS

FLOORS = ("accuracy", "kl_from_retrained", "js_to_retrained", "activation_distance", "zrf", "mia_confidence")
ANSWER_FLOORS = ("answer_nll", "rouge_l", "exact_memorisation", "extraction_strength", "mia_auc")


def page(runs: Runs, boards: Sequence[Board], figures: Sequence[Path]) -> str:
    """Return report.html as text."""
    from jinja2 import Environment

    template = files("unlearnbench.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    table = runs.table
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template)
        .render(
            compared=any(board.headline.compared for board in boards),
            readings=[f"{one} {SEEDS}" for one in readings(boards)],
            bias_header=BIAS_HEADER,
            bias_note=READING if any(board.bias for board in boards) else "",
            reported_header=REPORTED_HEADER,
            reported_note=NOTE if any(board.reported for board in boards) else "",
            verdicts_note=VERDICTS if any(board.verdicts for board in boards) else "",
            exposed_note=EXPOSED if any(board.exposed for board in boards) else "",
            boards=[(board, noise_text(board), _floor_rows(board)) for board in boards],
            figures=_inlined(figures),
            of_runs=_figures_of_runs(runs),
            left_out=runs.left_out,
            counts=table["status"].value_counts().to_dict(),
            seeds=sorted(int(seed) for seed in table["seed"].unique()),
            unfinished=table[table["status"] != "done"].to_dict("records"),
            provenance=_provenance(runs),
        )
    )


def _inlined(figures: Iterable[Path]) -> list[tuple[str, str]]:
    return [(path.stem.replace("_", " "), base64.b64encode(path.read_bytes()).decode()) for path in figures]


def _figures_of_runs(runs: Runs) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return each finished run's folder name and figures; over `SHOWN_RUNS`, only the names."""
    done = [runs.folders[str(run_id)] for run_id in runs.table[runs.table["status"] == "done"]["run_id"]]
    shown = len(done) <= SHOWN_RUNS
    return [(run.name, _inlined(sorted((run / "plots").glob("[!.]*.png"))) if shown else []) for run in done]


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
    rows = [("command", command) for command in commands]
    for name in ("device", "threads", "precision", "git_revision"):
        values = {str(getattr(result, name)) for result in runs.facts.values() if getattr(result, name)}
        rows.append((name.replace("_", " "), ", ".join(sorted(values))))
    packages = sorted({package for result in runs.facts.values() for package in result.versions})
    for package in packages:
        values = {result.versions.get(package, "") for result in runs.facts.values()}
        rows.append((package, ", ".join(sorted(values))))
    return rows
