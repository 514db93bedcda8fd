"""Sweeps: Hydra's launchers do the jobs; every job is a row, and at the end there is a report."""

from __future__ import annotations

import csv
import json
import logging
import math
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unlearnbench.compose import Composed, compose, expand, from_job, model_name, search_path
from unlearnbench.config import GROUPS, config_root
from unlearnbench.errors import DONE, FAILED, UserError, WrongKind
from unlearnbench.escapes import csv_row
from unlearnbench.launch import check, execute
from unlearnbench.places import writable
from unlearnbench.words import literal, meant_as_one, refuse_several, text

log = logging.getLogger("unlearnbench")

JOBS = ".jobs"
COLUMNS = (
    "job", "overrides", "experiment", "dataset", "forget", "model", "method", "seed", "status", "run_folder", "reason",
)  # fmt: skip


def check_all(composed: Composed, overrides: Sequence[str], folders: Sequence[Path]) -> None:
    """Compose and check the choices and values of a sweep before its first job; raise UserError for a mistake.

    A method that is made for another kind of data is no mistake here: its job becomes a skipped row.
    """
    refuse_several(overrides)
    runnable = 0
    sweeps: dict[str, bool] = {}
    for one in expand(overrides, composed.parameters, folders):
        try:
            single = compose(["hydra.mode=RUN", *one], folders)
            sweeps[single.request.name("experiment")] = bool(single.parameters)
            check(single)
            runnable += 1
        except WrongKind as error:
            log.info("will be skipped (%s): %s", " ".join(one), str(error).splitlines()[0])
        except UserError as error:
            raise UserError(f"{error}{meant_as_one(overrides)}") from error
    _refuse_sweeps_of_sweeps(sweeps)
    if not runnable:
        raise UserError("no job of this sweep can run: every method is made for another kind of data.")
    writable(composed.sweep_dir, "hydra.sweep.dir=")


def _refuse_sweeps_of_sweeps(sweeps: Mapping[str, bool]) -> None:
    """Refuse to sweep over presets of which one is a sweep itself (by name): its jobs would be lost."""
    own = [name for name, is_sweep in sweeps.items() if is_sweep]
    if own and len(sweeps) > 1:
        raise UserError(f"experiment={own[0]} is a sweep of its own.\nTry: unlearnbench run experiment={own[0]}, alone")


def launch(composed: Composed, overrides: Sequence[str], folders: Sequence[Path]) -> tuple[Path, int]:
    """Hand the sweep to Hydra, write jobs.csv and the report; return the sweep's folder and the exit code."""
    place = str(composed.sweep_dir).replace("${", r"\${")  # it is resolved already
    try:
        hydra_main(["--multirun", *literal(overrides), f"hydra.sweep.dir={text(place)}", *search_path(folders)])
    finally:
        rows = _collect(composed.sweep_dir)
    failed = [row for row in rows if row["status"] in ("failed", "diverged")]
    if any(row["run_folder"] for row in rows):
        from unlearnbench.report import write

        write([composed.sweep_dir], composed.sweep_dir / "report")
    return composed.sweep_dir, FAILED if failed or not rows else DONE


def hydra_main(words: Sequence[str]) -> None:
    """Give the words to Hydra as its own command line."""
    import hydra

    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        hydra.main(version_base="1.3", config_path=str(config_root()), config_name="run")(job)()
    finally:
        sys.argv = before


def job(config: DictConfig) -> float:
    """One job of a sweep: never raises but for an interruption; returns the objective, NaN where there is none.

    The objective is the mean over retain, forget and test of |gap of accuracy|: lower is better.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra_config = HydraConfig.get()
    choices = {group: hydra_config.runtime.choices.get(group) for group in GROUPS}
    words = list(hydra_config.overrides.task)
    names = {group: choices.get(group) or "" for group in ("experiment", "dataset", "forget", "model", "method")}
    row: dict[str, Any] = {"job": hydra_config.job.num, "overrides": " ".join(words), "run_folder": "", **names}
    row |= {"model": model_name(names["model"], config.get("model")), "seed": config.get("seed", 0)}
    value = math.nan
    log.info("job %s: %s", row["job"], row["overrides"])
    try:
        outcome = execute(from_job(config, choices, words))
        row |= {"status": outcome.status, "run_folder": str(outcome.folder.resolve()), "reason": outcome.reason}
        value = _objective(outcome.folder) if outcome.status == "done" else math.nan
    except UserError as error:
        status = "skipped" if isinstance(error, WrongKind) else "failed"
        row |= {"status": status, "reason": str(error)}
    except Exception as error:
        log.error("%s", traceback.format_exc())
        row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    log.info("job %s: %s %s", row["job"], row["status"], row["reason"])
    folder = Path(hydra_config.sweep.dir) / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row['job']}.json").write_text(json.dumps(row))
    return value


def _objective(folder: Path) -> float:
    with (folder / "metrics.csv").open(newline="") as file:
        gaps = [abs(float(row["value"])) for row in csv.DictReader(file) if _counts(row)]
    return sum(gaps) / len(gaps)


def _counts(row: dict[str, str]) -> bool:
    return row["metric"] == "gap_accuracy" and row["split"] in ("retain", "forget", "test")


def _collect(folder: Path) -> list[dict[str, Any]]:
    """Write jobs.csv from the jobs' own notes, in order, and return its rows."""
    rows = [json.loads(file.read_text()) for file in (folder / JOBS).glob("*.json")]
    folder.mkdir(parents=True, exist_ok=True)
    rows.sort(key=lambda row: int(row["job"]))
    with (folder / "jobs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(csv_row, rows))
    return rows
