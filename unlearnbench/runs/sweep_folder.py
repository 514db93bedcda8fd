"""A sweep's folder: one sweep's alone while it runs, and in jobs.csv a row for every job that was launched."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, sums
from unlearnbench.files.escapes import csv_row
from unlearnbench.runners.claims import Claims

NAMES = ("experiment", "dataset", "forget", "model", "method")
COLUMNS = ("job", "overrides", *NAMES, "seed", "status", "run_folder", "reason")
REPORTED = (".csv", ".html", ".md", ".png", ".tex")
"""Endings of a report's files."""


@contextmanager
def claimed(folder: Path, dated: bool) -> Iterator[Path]:
    """Yield a folder that no other sweep writes into: this one, or, of a dated name that is taken, a numbered one.

    A folder that was asked for may hold an earlier sweep: its jobs.csv and report make way, its runs stay where they
    are. Raises UserError where a sweep is still running in it.
    """
    if dated:
        yield _made(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with Claims(folder).held(".running", "a sweep") as alone:
        if not alone:
            raise UserError(f"a sweep is running in {folder}.\nTry: hydra.sweep.dir=FOLDER, another one")
        _make_way(folder)
        yield folder


def _made(folder: Path) -> Path:
    """Make a folder that is not there yet, by this name or with a number behind it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        mine = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            mine.mkdir()
        except FileExistsError:
            continue
        return mine
    raise AssertionError("there is always another number")


def _make_way(folder: Path) -> None:
    """Remove what an earlier sweep left in its folder: it would be taken for this one's."""
    leftovers.clear(folder)
    if not (folder / "jobs.csv").exists():
        return
    (folder / "jobs.csv").unlink()
    leftovers.remove(folder / sums.NAME)
    for file in (folder / "report").glob("*.*"):
        if file.suffix in REPORTED:
            file.unlink()


def begin(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write jobs.csv as it is before the first job; return a file that says when the sweep began."""
    began = folder / ".began"
    began.touch()
    write_jobs(folder, rows)
    return began


def write_jobs(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write jobs.csv: a row for each job."""
    table = StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_row({**dict.fromkeys(COLUMNS, ""), **row}) for row in rows)
    leftovers.replace(folder / "jobs.csv", table.getvalue())
    sums.record(folder, "jobs.csv")
