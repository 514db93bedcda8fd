"""Sweeps: Hydra's launchers do the jobs; every job is a row, and at the end there is a report."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from unlearnbench import signals
from unlearnbench.errors import DONE, FAILED, Stopped, UserError, WrongKind
from unlearnbench.files import disk, leftovers
from unlearnbench.request.compose import Composed, compose, expand, from_job, model_name, search_path
from unlearnbench.request.config import GROUPS, config_root
from unlearnbench.request.places import writable
from unlearnbench.request.words import literal, meant_as_one, refuse_several, text
from unlearnbench.runs import sweep_folder
from unlearnbench.runs.launch import check, execute

log = logging.getLogger("unlearnbench")

RAISE = "HYDRA_FULL_ERROR"
"""Environment variable that has Hydra raise an exception, where it would print it and exit."""
KILLED = "its process ended before the job did: it was killed, perhaps for want of memory"


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
    leftovers.clear_outputs(composed.request.outputs)
    with disk.watched(composed.sweep_dir), sweep_folder.claimed(composed.sweep_dir, composed.dated) as folder:
        rows = _jobs(folder, overrides, folders)
        failed = [row for row in rows if row["status"] in ("failed", "diverged")]
        if any(row["run_folder"] for row in rows):
            from unlearnbench.report import write

            write([folder], folder / "report")
    return folder, FAILED if failed or not rows else DONE


def _jobs(folder: Path, overrides: Sequence[str], folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Have Hydra do all jobs of the sweep in its folder, and return their rows, jobs.csv's."""
    place = text(str(folder).replace("${", r"\${"))  # it is resolved already
    notes = sweep_folder.notes()
    own = [f"hydra.sweep.dir={place}", f"hydra.sweep.subdir={notes}"]
    with _launched() as launched, _raising(), signals.handled():

        def interrupted() -> None:
            sweep_folder.collect(folder, notes, launched, "it never began: the sweep was interrupted", lambda words: {})

        signals.at_end(interrupted)
        reason = "it never began"
        try:
            hydra_main(["--multirun", *literal(overrides), *own, *search_path(folders)])
        except _Ends as error:
            raise Stopped(str(error)) from error
        except Exception as error:
            if disk.why(error, folder):
                raise
            reason = f"it never began: {type(error).__name__}: {error}"
            log.error("the jobs' launcher failed: %s: %s", type(error).__name__, error)
        finally:
            signals.no_longer(interrupted)
            rows = sweep_folder.collect(folder, notes, launched, reason, lambda words: _names(words, folders))
    return rows


def _names(words: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    """Return what jobs.csv says of a job beside its overrides and status, from its overrides."""
    request = compose(["hydra.mode=RUN", *words], folders).request
    names = {group: request.name(group) for group in sweep_folder.NAMES}
    return {**names, "model": request.model, "seed": request.config.get("seed", 0)}


class _Ends(BaseException):
    """What ends a whole sweep from within a job: Hydra would go on to the next one after an Exception."""


@contextmanager
def _launched() -> Iterator[dict[int, list[str]]]:
    """Note what Hydra's sweeper hands to its launcher in the block: each job's overrides by its number."""
    from hydra.core.plugins import Plugins
    from hydra.plugins.launcher import Launcher

    launched: dict[int, list[str]] = {}

    def noting(launch: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Launcher, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
            launched.update(enumerate(([*words] for words in job_overrides), initial_job_idx))
            return launch(self, job_overrides, initial_job_idx=initial_job_idx)

        return noted

    with ExitStack() as stack:
        for kind in Plugins.instance().discover(Launcher):
            own: Any = kind
            stack.callback(setattr, own, "launch", own.launch)
            own.launch = noting(own.launch)
        yield launched


def hydra_main(words: Sequence[str]) -> None:
    """Give the words to Hydra as its own command line."""
    import hydra

    from unlearnbench.request.loader import checked

    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        with checked():
            hydra.main(version_base="1.3", config_path=str(config_root()), config_name="run")(job)()
    finally:
        sys.argv = before


@contextmanager
def _raising() -> Iterator[None]:
    """Have Hydra raise what goes wrong in the block: it would print a traceback and exit."""
    before = os.environ.get(RAISE)
    os.environ[RAISE] = "1"
    try:
        yield
    finally:
        os.environ.pop(RAISE)
        os.environ.update({} if before is None else {RAISE: before})


def job(config: DictConfig) -> float:
    """One job of a sweep: never raises but to end them all; returns the objective, NaN where there is none.

    The objective is the mean over retain, forget and test of |gap of accuracy|: lower is better.
    """
    from hydra.core.hydra_config import HydraConfig

    signals.install()  # where a launcher has processes of its own
    hydra_config = HydraConfig.get()
    note = Path(hydra_config.sweep.dir) / hydra_config.sweep.subdir / f"{hydra_config.job.num}.json"
    choices = {group: hydra_config.runtime.choices.get(group) for group in GROUPS}
    words = list(hydra_config.overrides.task)
    names = {group: choices.get(group) or "" for group in sweep_folder.NAMES}
    row: dict[str, Any] = {"job": hydra_config.job.num, "overrides": " ".join(words), "run_folder": "", **names}
    row |= {"model": model_name(names["model"], config.get("model")), "seed": config.get("seed", 0)}
    value = math.nan
    with _ending_all(note.parent):
        leftovers.replace(note, json.dumps({**row, "status": "failed", "reason": KILLED}))
    log.info("job %s: %s", row["job"], row["overrides"])
    try:
        outcome = execute(from_job(config, choices, words))
        row |= {"status": outcome.status, "run_folder": str(outcome.folder.resolve()), "reason": outcome.reason}
        value = _objective(outcome.folder) if outcome.status == "done" else math.nan
    except Stopped as error:
        raise _Ends(str(error)) from error
    except UserError as error:
        status = "skipped" if isinstance(error, WrongKind) else "failed"
        row |= {"status": status, "reason": str(error)}
    except Exception as error:
        log.error("%s", traceback.format_exc())
        row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    log.info("job %s: %s %s", row["job"], row["status"], row["reason"])
    with _ending_all(note.parent):
        leftovers.replace(note, json.dumps(row))
    return value


@contextmanager
def _ending_all(folder: Path) -> Iterator[None]:
    """End the whole sweep where a note cannot be written."""
    try:
        with disk.watched(folder):
            yield
    except Stopped as error:
        raise _Ends(str(error)) from error


def _objective(folder: Path) -> float:
    with (folder / "metrics.csv").open(newline="") as file:
        gaps = [abs(float(row["value"])) for row in csv.DictReader(file) if _counts(row)]
    return sum(gaps) / len(gaps)


def _counts(row: dict[str, str]) -> bool:
    return row["metric"] == "gap_accuracy" and row["split"] in ("retain", "forget", "test")
