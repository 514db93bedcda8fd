"""The forget rows that a board's methods still give away most, read from the folders of their runs."""

from __future__ import annotations

import base64
import csv
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.errors import counted
from unlearnbench.files import stored
from unlearnbench.report.collect import Runs
from unlearnbench.results.exposed import COLUMNS, LETTERS

if TYPE_CHECKING:
    import pandas

log = logging.getLogger("unlearnbench")

METHODS = 10
"""A board shows the rows of this many methods, those nearest to retrained."""
LARGEST = 2**17
"""The most bytes of a picture that is shown."""
DIGITS = 18
"""The most digits of a position."""
MOST = 1000
READING = (
    "Rows still most exposed: the forget rows of which the unlearned model is surer than retrained models are. The "
    "score is its confidence, in log odds of the label, less theirs; with two retrained models or more it is in "
    "standard deviations between them. A retrained model's own top rows are above 0 too: they are the largest of many. "
    "Of several seeds, rows that are among the most exposed in most of them come first. Each run's exposed.csv has the "
    "numbers; with eval.exposed=0 a run keeps none of these rows."
)


@dataclass(frozen=True)
class Row:
    """One row of forget: where it is in the data, its answer and question, and its score in so many lists of seeds."""

    index: int
    name: str
    answer: str
    question: str
    score: float
    lists: int
    picture: str = ""

    def told(self, of: int) -> str:
        """Return the score, and in how many of several lists the row is."""
        return f"{self.score:+.1f}" + (f", {self.lists} of {of}" if of > 1 else "")


@dataclass(frozen=True)
class Exposed:
    """A method's rows, the most exposed first, in how many lists they were looked for, and the unit of the score."""

    method: str
    rows: tuple[Row, ...]
    lists: int
    unit: str
    draw: str = ""

    @property
    def pictured(self) -> bool:
        """Whether each row has its picture."""
        return all(row.picture for row in self.rows)

    @property
    def title(self) -> str:
        """What the rows are, in one line."""
        scores = [row.score for row in self.rows]
        seeds = f", {counted(self.lists, 'seed')}" if self.lists > 1 else ""
        told = f"{max(scores):+.1f} to {min(scores):+.1f} {self.unit}{seeds}{self.draw}"
        return f"{self.method}: {told}" + ("" if max(scores) > 0 else "; of none is it surer than retrained")


def exposed(runs: Runs, table: pandas.DataFrame, names: Sequence[str]) -> tuple[Exposed, ...]:
    """Return the rows of a board's methods that have some, at most METHODS of them in the order of `names`.

    On a board of several draws of the forget set they are those of the first draw: the others forget other rows.
    """
    found: list[Exposed] = []
    drawn = f", draw {table['draw'].min()}" if table["draw"].nunique() > 1 else ""
    table = table[table["draw"] == table["draw"].min()]
    places = {str(name): [runs.folders[str(one)] for one in rows["run_id"]] for name, rows in table.groupby("variant")}
    for name in names:
        lists = [(run, rows) for run in places.get(name, ()) if (rows := _read(run))]
        if lists and len(found) < METHODS:
            found.append(replace(_joined(name, lists), draw=drawn))
    return tuple(found)


def _joined(method: str, lists: Sequence[tuple[Path, list[dict[str, str]]]]) -> Exposed:
    """Join the lists of a method's seeds: first the rows that are in most of them, then by their mean score."""
    by_index: dict[int, list[tuple[Path, dict[str, str]]]] = {}
    for run, rows in lists:
        for row in rows:
            by_index.setdefault(int(row["index"]), []).append((run, row))
    means = {index: sum(float(row["score"]) for _, row in seen) / len(seen) for index, seen in by_index.items()}
    order = sorted(by_index, key=lambda index: (-len(by_index[index]), -means[index], index))
    shown = []
    for index in order[: max(len(rows) for _, rows in lists)]:
        run, row = by_index[index][0]
        names = (row["id"][:LETTERS] or f"row {index}", row["answer"][:LETTERS], row["question"][:LETTERS])
        shown.append(Row(index, *names, means[index], len(by_index[index]), _picture(run, index)))
    first = lists[0][1][0]
    unit = "standard deviations" if first["spread"] else "log odds" if first["retrained"] else "log odds, uncalibrated"
    return Exposed(method, tuple(shown), len(lists), unit)


def _read(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's exposed.csv; none where it has none, or where it is damaged, with a warning."""
    file = run / "exposed.csv"
    if not file.exists():
        return []
    try:
        reader = csv.DictReader(io.StringIO(stored.content(file).decode(), newline=""))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError("it does not have the columns of an exposed.csv")
        rows = [row for _, row in zip(range(MOST), reader, strict=False)]
        if not all(_is_whole(row) for row in rows):
            raise ValueError("it has a row without a position or a score")
    except (OSError, ValueError, csv.Error) as error:
        log.warning("report: %s is damaged and left out: %s", file, stored.why(error))
        return []
    return rows


def _is_whole(row: dict[str, str]) -> bool:
    """Return whether a row has all its cells, a position and a score; raise ValueError where a score is no number."""
    complete = row.keys() == set(COLUMNS) and None not in row.values()
    return complete and row["index"].isdecimal() and len(row["index"]) <= DIGITS and math.isfinite(float(row["score"]))


def _picture(run: Path, index: int) -> str:
    """Return a row's picture in base64; "" where there is none that is a PNG of modest size."""
    file = run / "exposed" / f"{index}.png"
    try:
        if not file.exists() or file.stat().st_size > LARGEST:
            return ""
        data = stored.content(file)
    except (OSError, ValueError):
        return ""
    return base64.b64encode(data).decode() if data.startswith(b"\x89PNG\r\n\x1a\n") else ""
