"""`unlearnbench verify BUNDLE`: is every file there and whole, and do all rows follow from the scores?"""

from __future__ import annotations

import io
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.bundles.manifest import TABLES
from unlearnbench.bundles.pack import tables
from unlearnbench.bundles.recompute import (
    FITTED,
    FITTED_TOLERANCE,
    TOLERANCE,
    Compared,
    Known,
    compare,
    shared_scores,
    tolerance,
)
from unlearnbench.bundles.unpack import Unpacked, unpacked
from unlearnbench.errors import counted
from unlearnbench.files import stored, sums
from unlearnbench.files.digests import file_digest
from unlearnbench.machine.threads import automatic
from unlearnbench.report.collect import collect, read

if TYPE_CHECKING:
    import pandas

log = logging.getLogger("unlearnbench")

KEYS = {
    "results.csv": ("run_id", "request", "role", "split", "metric"),
    "runs.csv": ("run_id",),
    "summary.csv": ("experiment", "dataset", "forget", "model", "setting", "variant", "request", "role", "split",
                    "metric"),
}  # fmt: skip
SHOWN = 3
TOGETHER = 25
"""How many runs one process compares at a time; those with the same original are compared together."""
FEW = 6
"""So few runs are compared in this process."""


@dataclass
class Checked:
    """What was found in a bundle."""

    bundle: Path
    sha256: str
    runs: int
    fitted: bool
    problems: list[tuple[str, str]] = field(default_factory=list)
    numbers: int = 0
    farthest: float = 0.0
    reported: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        """Yield a line a problem, then what was computed again, what was not, and the bundle's digest."""
        for place, why in self.problems:
            yield f"{place}: {why}"
        count = len(self.problems)
        yield (
            f"{self.bundle}: {counted(self.runs, 'run')}, {counted(self.numbers, 'number')} computed again from scores "
            f"(within {TOLERANCE:g}, attacks that are fitted within {FITTED_TOLERANCE:g}; farthest {self.farthest:.1g})"
            f": {'all is well' if not count else counted(count, 'problem')}"
        )
        if self.reported:
            named = ", ".join(f"{name} ({times})" for name, times in sorted(self.reported.items()))
            yield f"taken as reported, since scores are not enough for them: {named}"
        if not self.fitted:
            yield "left out by --quick: attacks that are fitted to scores (mia_auc, mia_accuracy, mia_..._svc)"
        yield "taken as reported: seconds, memory, cost ratios, and that the scores are of the models they name"
        yield f"sha256 of bundle.json: {self.sha256}"


def check(bundle: Path, *, fitted: bool = True) -> Checked:
    """Look at a bundle, which may be anybody's; raise UserError where the file is none, or is refused."""
    with unpacked(bundle) as found:
        checked = Checked(bundle, found.sha256, len(found.manifest.runs), fitted, list(found.problems))
        sound = [run for run in found.sound if _is_sound(checked, run)]
        log.info("%s: computing the numbers of %s again", bundle, counted(len(sound), "run"))
        for one in _compared(sound, fitted):
            _note(checked, one)
        checked.problems += _tables(found, sound)
    return checked


def _is_sound(checked: Checked, run: Path) -> bool:
    """Return whether a run can be read; note why not."""
    try:
        damage = sums.told(sums.damage(run, file_digest))
        if not damage:
            read(run)
            return True
    except (OSError, ValueError) as error:
        damage = stored.why(error)
    checked.problems.append((f"runs/{run.name}", damage))
    return False


def _note(checked: Checked, one: Compared) -> None:
    checked.numbers += one.numbers
    checked.farthest = max(checked.farthest, one.farthest)
    checked.reported += Counter(
        {name: times for name, times in one.reported.items() if checked.fitted or name not in FITTED}
    )
    more = len(one.wrong) - SHOWN
    checked.problems += [(f"runs/{one.run}", why) for why in one.wrong[:SHOWN]]
    if more > 0:
        checked.problems.append((f"runs/{one.run}", f"and {counted(more, 'more number')} that its scores do not give"))


def _compared(runs: Sequence[Path], fitted: bool) -> Iterator[Compared]:
    """Yield what came of each finished run, computed by as many processes as there are cores."""
    done = [run for run in runs if (run / "metrics.csv").exists()]
    workers = min(automatic(), max(1, len(done) // FEW))
    chunks = list(_chunks(done))
    if workers == 1:
        yield from (one for chunk in chunks for one in compare_all(chunk, fitted))
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes inherit it
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for found in pool.map(compare_all, chunks, [fitted] * len(chunks)):
                yield from found
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def _chunks(runs: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield runs in groups that share the scores of their originals and retrained models."""
    groups: dict[tuple[str, ...], list[Path]] = {}
    for run in runs:
        groups.setdefault(tuple(sorted(shared_scores(run).values())), []).append(run)
    for group in groups.values():
        yield from (group[start : start + TOGETHER] for start in range(0, len(group), TOGETHER))


def compare_all(runs: Sequence[Path], fitted: bool) -> list[Compared]:
    """Return what came of some runs."""
    known: Known = {}
    return [compare(run, known, fitted=fitted) for run in runs]


def _tables(found: Unpacked, sound: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield how the tables differ from the runs: rows of runs that are not there, and other values."""
    if not sound:
        return
    made, known = tables(collect(sound)), {run.name for run in sound}
    bad = {name.rpartition("_")[2] for name in found.manifest.runs if name not in known}
    damaged = {path for path, _ in found.problems}
    wrong: list[tuple[str, str]] = []
    for name in TABLES:
        if name == TABLES[-1] and (wrong or bad):
            wrong.append((name, "was not compared: it is about runs that are missing, damaged or changed"))
        elif name not in found.manifest.files:
            wrong.append((name, "is missing"))
        elif name not in damaged:
            packed, expected = _table((found.root / name).read_bytes()), _table(made[name])
            wrong += [(name, line) for line in _differences(packed, expected, KEYS[name], bad)]
    yield from wrong


def _table(content: bytes) -> pandas.DataFrame:
    import pandas

    return pandas.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)


def _differences(packed: pandas.DataFrame, made: pandas.DataFrame, keys: Sequence[str], bad: set[str]) -> Iterator[str]:
    """Yield how a packed table differs from one made from the runs, a few lines at most."""
    if list(packed.columns) != list(made.columns):
        yield f"has the columns {', '.join(packed.columns)[:300]}; expected {', '.join(made.columns)}"
        return
    if packed.duplicated(list(keys)).any():
        yield "has two rows for one number"
        return
    if "run_id" in packed:
        for run_id, rows in packed[~packed["run_id"].isin({*made["run_id"], *bad})].groupby("run_id"):
            of = f"{run_id} ({rows.iloc[0]['method']}, seed {rows.iloc[0]['seed']})"
            yield f"has {counted(len(rows), 'row')} of the run {of}, which is missing"
        packed = packed[packed["run_id"].isin(set(made["run_id"]))]
    both = packed.merge(made, on=list(keys), how="outer", suffixes=("", " made"), indicator="side")
    lines = [f"has a row too many: {_named(row, keys)}" for row in _rows(both[both["side"] == "left_only"])]
    lines += [f"lacks a row: {_named(row, keys)}" for row in _rows(both[both["side"] == "right_only"])]
    both = both[both["side"] == "both"]
    for column in (one for one in packed.columns if one not in keys):
        other = both[both[column] != both[f"{column} made"]]
        for row in _rows(other):
            if not _is_near(row[column], row[f"{column} made"], row.get("metric", "")):
                lines.append(f"{column} of {_named(row, keys)} is {row[column]}; the runs give {row[f'{column} made']}")
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"and {counted(len(lines) - SHOWN, 'more difference')}"


def _rows(table: pandas.DataFrame) -> list[dict[str, str]]:
    return [{str(name): str(value) for name, value in row.items()} for row in table.to_dict("records")]


def _named(row: dict[str, str], keys: Sequence[str]) -> str:
    return " ".join(row[name] for name in keys if row[name])


def _is_near(one: str, other: str, metric: str) -> bool:
    try:
        return abs(float(one) - float(other)) <= tolerance(metric, float(other))
    except ValueError:
        return False
