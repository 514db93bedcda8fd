"""Find runs, and join their metrics and facts into two tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.report import naming
from unlearnbench.results import COLUMNS

if TYPE_CHECKING:
    import pandas

GROUP = ("experiment", "dataset", "forget", "model")
RUN_COLUMNS = (
    "run_id", "experiment", "dataset", "forget", "model", "setting", "method", "variant", "seed", "status",
    "reason", "weights_changed", "seconds", "cost_ratio", "peak_mib", "device", "threads", "precision", "folder",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Runs:
    """All runs found: `results` has their metric rows, `table` one row a run, `facts` their result.json by run_id.

    `setting` in `table` names, where a group has several, what decides the original and its references: runs of a
    group and setting differ in method and seed alone. `variant` names a method's configuration: the method itself,
    and what was overridden where several configurations of it meet in one group and setting.
    """

    results: pandas.DataFrame
    table: pandas.DataFrame
    facts: dict[str, dict[str, Any]]
    folders: dict[str, Path]


def collect(folders: Sequence[Path]) -> Runs:
    """Read every run at or below the folders once; raise UserError where there is none."""
    import pandas

    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder} does not exist.\nTry: unlearnbench report outputs")
        for run in _runs(folder):
            found.setdefault(json.loads((run / "result.json").read_text())["run_id"], run)
    if not found:
        places = ", ".join(str(folder) for folder in folders)
        raise UserError(f"no runs at or below {places}.\nTry: unlearnbench run, then unlearnbench report outputs")
    facts = {key: json.loads((run / "result.json").read_text()) for key, run in sorted(found.items())}
    tables = [
        pandas.read_csv(run / "metrics.csv", dtype={"run_id": str}, keep_default_na=False)
        for _, run in sorted(found.items())
        if (run / "metrics.csv").exists()
    ]
    results = pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=COLUMNS)
    settings, variants = naming.settings(facts, GROUP), naming.variants(facts, GROUP)
    rows = [_row(result, settings[key], variants[key], found[key]) for key, result in facts.items()]
    return Runs(results, pandas.DataFrame(rows, columns=list(RUN_COLUMNS)), facts, found)


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


def _row(result: dict[str, Any], setting: str, variant: str, folder: Path) -> dict[str, Any]:
    """Flatten a result.json into its row of runs.csv."""
    row = {column: result.get(column, "") for column in RUN_COLUMNS}
    seconds, peak = result.get("seconds", {}), result.get("peak_mib", {})
    own = {"seconds": seconds.get("unlearned"), "peak_mib": peak.get("unlearned")}
    return {**row, **own, "setting": setting, "variant": variant, "folder": str(folder)}
