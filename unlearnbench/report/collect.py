"""Find runs, and join their metrics and facts into two tables."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.report import naming
from unlearnbench.results import COLUMNS, read_metrics, read_result

if TYPE_CHECKING:
    import pandas

log = logging.getLogger("unlearnbench")

GROUP = ("experiment", "dataset", "forget", "model")
RUN_COLUMNS = (
    "run_id", "experiment", "dataset", "forget", "model", "setting", "method", "variant", "seed", "status",
    "reason", "weights_changed", "seconds", "validation_seconds", "cost_ratio", "cost_note", "peak_mib", "device",
    "threads", "precision", "folder",
)  # fmt: skip
NEEDED = ("run_id", *GROUP, "method", "seed", "status", "versions")
NEEDED_DONE = ("weights_changed", "cost_ratio")


@dataclass(frozen=True, eq=False)
class Runs:
    """All runs found: `results` has their metric rows, `table` one row a run, `facts` their result.json by run_id.

    `setting` in `table` names, where a group has several, what decides the original and its references: runs of a
    group and setting differ in method and seed alone. `variant` names a method's configuration: the method itself,
    and what was overridden where several configurations of it meet in one group and setting. Jobs of a sweep that left
    no run (a method for another kind of data) are in `table` too, with an empty run_id and the forget set's choice.
    """

    results: pandas.DataFrame
    table: pandas.DataFrame
    facts: dict[str, dict[str, Any]]
    folders: dict[str, Path]


def collect(folders: Sequence[Path]) -> Runs:
    """Read every run at or below the folders once, and leave out, with a warning, what is damaged.

    Raises UserError where there is no run.
    """
    import pandas

    places: dict[Path, Path] = {}
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder} does not exist.\nTry: unlearnbench report outputs")
        for run in _runs(folder):
            places.setdefault(run.resolve(), run)
    found: dict[str, Path] = {}
    facts: dict[str, dict[str, Any]] = {}
    tables: dict[str, pandas.DataFrame | None] = {}
    for run in places.values():
        try:
            result, rows = _read(run)
        except (OSError, ValueError, TypeError) as error:
            log.warning("report: %s is damaged and left out: %s", run, error)
            continue
        key = result["run_id"]
        if key not in found:
            found[key], facts[key], tables[key] = run, result, rows
    if not found:
        searched = ", ".join(str(folder) for folder in folders)
        raise UserError(f"no runs at or below {searched}.\nTry: unlearnbench run, then unlearnbench report outputs")
    facts = dict(sorted(facts.items()))
    settings, variants = naming.settings(facts, GROUP), naming.variants(facts, GROUP)
    table = [_row(result, settings[key], variants[key], found[key]) for key, result in facts.items()]
    table += [row for folder in folders for row in _without_run(folder)]
    known = [rows for key in facts if (rows := tables[key]) is not None]
    results = pandas.concat(known, ignore_index=True) if known else pandas.DataFrame(columns=COLUMNS)
    return Runs(results, pandas.DataFrame(table, columns=list(RUN_COLUMNS)), facts, found)


def _read(folder: Path) -> tuple[dict[str, Any], pandas.DataFrame | None]:
    """Return a run's facts, and its metric rows where it is done; raise what says how it is damaged."""
    result = read_result(folder)
    done = isinstance(result, dict) and result.get("status") == "done"
    lacking = [name for name in (*NEEDED, *(NEEDED_DONE if done else ())) if name not in result]
    if lacking:
        raise ValueError(f"result.json lacks {', '.join(lacking)}")
    return result, read_metrics(folder) if done else None


def _runs(folder: Path) -> Iterator[Path]:
    """Yield the run folders below a folder; a sweep's are named in its jobs.csv."""
    if (folder / "jobs.csv").exists():
        with (folder / "jobs.csv").open(newline="") as file:
            named = [Path(row["run_folder"]) for row in csv.DictReader(file) if row["run_folder"]]
        yield from (run for run in named if (run / "result.json").exists())
        return
    for result in sorted(folder.rglob("result.json")):
        if not any(part.startswith(".") for part in result.relative_to(folder).parts):
            yield result.parent


def _without_run(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row of runs.csv for each job of a sweep that left no run, with the reason why."""
    if not (folder / "jobs.csv").exists():
        return
    with (folder / "jobs.csv").open(newline="") as file:
        for job in csv.DictReader(file):
            if not job["run_folder"] and str(job.get("seed", "")).isdigit():
                row = dict.fromkeys(RUN_COLUMNS, "") | {
                    name: value for name, value in job.items() if name in RUN_COLUMNS
                }
                yield {**row, "variant": row["method"], "seed": int(row["seed"])}


def _row(result: dict[str, Any], setting: str, variant: str, folder: Path) -> dict[str, Any]:
    """Flatten a result.json into its row of runs.csv."""
    row = {column: result.get(column, "") for column in RUN_COLUMNS}
    own = {name: result.get(name, {}).get("unlearned") for name in ("seconds", "validation_seconds", "peak_mib")}
    return {**row, **own, "setting": setting, "variant": variant, "folder": str(folder)}
