"""Find runs and join their metrics and facts into two tables."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.files import stored, sums
from unlearnbench.files.escapes import printable
from unlearnbench.machine import cost
from unlearnbench.report import facts as typed
from unlearnbench.report import naming
from unlearnbench.report.facts import Facts, Job
from unlearnbench.report.units import undrawn
from unlearnbench.results.rows import COLUMNS, read_metrics

if TYPE_CHECKING:
    import pandas

log = logging.getLogger("unlearnbench")

GROUP = ("experiment", "dataset", "forget", "model")
RUN_COLUMNS = (
    "run_id", "experiment", "dataset", "forget", "draw", "model", "setting", "method", "variant", "seed", "status",
    "reason", "weights_changed", "seconds", "validation_seconds", "preparation_seconds", "cpu_seconds", "gpu_seconds",
    "cost_ratio", "cost_note", "compute_ratio", "examples_ratio", "base_note", "peak_mib", "device", "threads",
    "precision", "folder",
)  # fmt: skip
NAMES = COLUMNS[:7]
"""The columns of metrics.csv that identify the run."""
ROWS = 100_000
"""The most rows in a run's metrics.csv; ours have a few hundred."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What is damaged and left out, and why: a warning at once, and a line of the report."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, what: Path | str, why: Exception | str) -> None:
        """Note it and warn."""
        reason = printable(why if isinstance(why, str) else stored.why(why))
        name = printable(str(what).encode(errors="replace").decode())
        self.found.append((name, reason))
        log.warning("report: %s is damaged and left out: %s", name, reason)


@dataclass(frozen=True, eq=False)
class Runs:
    """All runs found: metric rows in `results`, one row per run in `table`, result.json in `facts`.

    Where runs differ in the draw of a forget set (forget.seed), `forget` in `table` is the forget set without its draw.
    `setting` in `table` tells apart runs of one group whose original and references differ: within a group and setting,
    runs differ only in method and seed. `variant` is the method, with its overrides if a group and setting has several
    configurations of it. Jobs of a sweep without a run (a method for another kind of data) are in `table` too, with an
    empty run_id and the choice of forget set. `left_out` says what is damaged, and why.
    """

    results: pandas.DataFrame
    table: pandas.DataFrame
    facts: dict[str, Facts]
    folders: dict[str, Path]
    left_out: tuple[tuple[str, str], ...] = ()


def collect(folders: Sequence[Path]) -> Runs:
    """Read every run at or below the folders once; leave out damaged ones with a warning.

    Raises UserError if there are no sound runs.
    """
    import pandas

    left_out = LeftOut()
    places, without = _places(folders, left_out)
    found: dict[str, Path] = {}
    facts: dict[str, Facts] = {}
    tables: dict[str, pandas.DataFrame | None] = {}
    for run in places:
        try:
            result, rows = read(run)
        except (OSError, ValueError) as error:
            left_out.add(run, error)
            continue
        key = result.run_id
        if key not in found:
            found[key], facts[key], tables[key] = run, result, rows
        elif not _same(rows, tables[key]):
            left_out.add(run, f"{found[key]} is the same run with other numbers")
    if not found:
        searched = ", ".join(str(folder) for folder in folders)
        sound = "sound " if places else ""
        raise UserError(
            f"no {sound}runs at or below {searched}.\nTry: unlearnbench run, then unlearnbench report outputs"
        )
    facts = dict(sorted(facts.items()))
    forget = undrawn(facts)
    words = {key: {**vars(result), "forget": forget[key]} for key, result in facts.items()}
    settings, variants = naming.settings(words, GROUP), naming.variants(words, GROUP)
    named = {key: {"setting": settings[key], "variant": variants[key], "forget": forget[key]} for key in facts}
    table = [_row(result, named[key], found[key]) for key, result in facts.items()]
    table += [_row_of_job(job) for job in without]
    known = [rows for key in facts if (rows := tables[key]) is not None]
    results = pandas.concat(known, ignore_index=True) if known else pandas.DataFrame(columns=COLUMNS)
    return Runs(results, pandas.DataFrame(table, columns=list(RUN_COLUMNS)), facts, found, tuple(left_out.found))


def jobs(sweep: Path) -> Iterator[Job | str]:
    """Yield the rows of a sweep's jobs.csv; for damage, a text that says what is wrong."""
    if damage := sums.changed(sweep, "jobs.csv"):
        yield damage
    try:
        text = stored.content(sweep / "jobs.csv").decode()
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if not {"job", "status", "run_folder"} <= set(reader.fieldnames or ()):
            raise ValueError("it does not have the columns of a jobs.csv")
        for number, row in enumerate(reader, 1):
            try:
                yield typed.job(row)
            except ValueError as error:
                yield f"row {number}: {error}"
    except (OSError, ValueError, csv.Error) as error:
        yield stored.why(error)


def runs_below(folder: Path, left_out: LeftOut | None = None) -> Iterator[Path]:
    """Yield the run folders at or below a folder; skip hidden folders and links."""
    noted = LeftOut() if left_out is None else left_out
    for place, below, files in os.walk(folder, onerror=lambda error: noted.add(error.filename, error)):
        if "result.json" in files or {sums.NAME, "config.yaml"} <= set(files):
            below.clear()
            yield Path(place)
        below[:] = sorted(name for name in below if not name.startswith("."))


def _places(folders: Sequence[Path], left_out: LeftOut) -> tuple[list[Path], list[Job]]:
    """Return the run folders at or below the folders, each once, and the sweep jobs without a run."""
    places: dict[str, Path] = {}
    without = []
    for folder in folders:
        if not os.path.exists(folder):
            raise UserError(f"{folder} does not exist.\nTry: unlearnbench report outputs")
        if not os.path.exists(folder / "jobs.csv"):
            for run in runs_below(folder, left_out):
                places.setdefault(os.path.realpath(run), run)
            continue
        for job in jobs(folder):
            if isinstance(job, str):
                left_out.add(folder / "jobs.csv", job)
            elif job.run_folder:
                places.setdefault(os.path.realpath(job.run_folder), Path(job.run_folder))
            elif job.status == "done":
                left_out.add(folder / "jobs.csv", f"job {job.job} is done but has no run")
            elif job.seed is not None:
                without.append(job)
    return list(places.values()), without


def read(folder: Path) -> tuple[Facts, pandas.DataFrame | None]:
    """Return a run's facts, and its metric rows if it is done.

    Raises ValueError if it is damaged.
    """
    if damage := sums.damage(folder):
        raise ValueError(sums.told(damage))
    result = typed.read(folder)
    if result.status != "done":
        return result, None
    rows = read_metrics(folder)
    if len(rows) > ROWS:
        raise ValueError(f"metrics.csv has {len(rows)} rows; expected at most {ROWS}")
    if (rows[list(NAMES)] != [getattr(result, name) for name in NAMES]).any(axis=None):
        raise ValueError("metrics.csv and result.json are from different runs")
    if rows.duplicated(["request", "role", "split", "metric"]).any():
        raise ValueError("metrics.csv has two rows for one request, role, split and metric")
    rates = rows["value"][rows["metric"] == "accuracy"]
    if not rates.dropna().between(0, 1).all():
        raise ValueError("metrics.csv has an accuracy outside [0, 1]")
    return result, rows


def _same(rows: pandas.DataFrame | None, others: pandas.DataFrame | None) -> bool:
    return rows is None or others is None or rows.equals(others)


def _row_of_job(job: Job) -> dict[str, Any]:
    """Return the row of runs.csv for a sweep job without a run, with the reason."""
    known = {name: value for name, value in vars(job).items() if name in RUN_COLUMNS}
    return {**dict.fromkeys(RUN_COLUMNS, ""), **known, "variant": job.method}


def _row(result: Facts, named: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Flatten a result.json into its row of runs.csv; `named` is what the report calls its setting and the like."""
    amounts = ("seconds", "validation_seconds", "preparation_seconds", "cpu_seconds", "gpu_seconds", "peak_mib")
    own = {name: getattr(result, name).get("unlearned") for name in amounts}
    known = {column: getattr(result, column, "") for column in RUN_COLUMNS}
    return {
        **known,
        **own,
        "examples_ratio": None if result.method.startswith("external:") else cost.examples_ratio(result.examples_seen),
        **named,
        "folder": str(folder).encode(errors="replace").decode(),
    }
