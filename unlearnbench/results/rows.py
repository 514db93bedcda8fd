"""metrics.csv: one number a row; left_out.csv: what could not be used."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.files import stored
from unlearnbench.files.escapes import csv_cell, printable

if TYPE_CHECKING:
    import pandas

    from unlearnbench.metrics.measure import Row
    from unlearnbench.results.identity import Identity

log = logging.getLogger("unlearnbench")

COLUMNS = (
    "run_id", "experiment", "dataset", "forget", "model", "method", "seed", "request", "role", "split", "metric",
    "value",
)  # fmt: skip


def write_metrics(folder: Path, identity: Identity, rows: Iterable[tuple[int, Row]]) -> None:
    """Write metrics.csv from rows with their request's number: deterministic columns, values to the last digit."""
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        names = vars(identity).values()
        for request, row in rows:
            writer.writerow([*names, request, row.role, row.split, row.metric, repr(row.value)])


def read_metrics(folder: Path) -> pandas.DataFrame:
    """Read metrics.csv: an empty name stays "". Raise OSError or ValueError where it is missing, damaged or empty."""
    import pandas

    kinds: dict[str, type] = {**dict.fromkeys(COLUMNS, str), "seed": int, "request": int, "value": float}
    text = BytesIO(stored.content(folder / "metrics.csv"))
    try:
        table = pandas.read_csv(text, dtype=kinds, keep_default_na=False, na_values={"value": ["nan"]})
    except OverflowError as error:
        raise ValueError("metrics.csv has a seed of more than 64 bits") from error
    if tuple(table.columns) != COLUMNS or table.empty:
        raise ValueError(f"metrics.csv has {len(table)} rows of {', '.join(table.columns)}")
    return table


def read_values(folder: Path) -> dict[tuple[str, str, str], float]:
    """Return the numbers of a run's metrics.csv by role, split and metric; of a stream, those of the last request."""
    with (folder / "metrics.csv").open(newline="") as file:
        return {(row["role"], row["split"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}


def write_left_out(folder: Path, reasons: Mapping[str, str]) -> None:
    """Write left_out.csv, the files of a data set that could not be used and why, and log them; nothing for none."""
    if not reasons:
        return
    with (folder / "left_out.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "reason"))
        for path, reason in reasons.items():
            writer.writerow((csv_cell(path), csv_cell(reason)))
            log.debug("left out: %s: %s", printable(path), reason)
