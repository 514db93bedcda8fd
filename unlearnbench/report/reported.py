"""Compare published with measured numbers, for each board whose runs have some."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnbench.errors import UserError
from unlearnbench.report.bootstrap import interval_over_examples
from unlearnbench.report.collect import Runs
from unlearnbench.report.scores import models_of, references
from unlearnbench.report.summary import CELL
from unlearnbench.request.config import typed
from unlearnbench.request.reported import Reported

if TYPE_CHECKING:
    import pandas

log = logging.getLogger("unlearnbench")

COLUMNS = (
    *(name for name in CELL if name != "request"),
    *("source", "reported", "measured", "ci_low", "ci_high", "interval", "seeds", "difference", "differs"),
)
"""Of reported.csv: CELL as in summary.csv; `interval` is what it is over (seeds, examples, or nothing)."""
HEADER = (
    "method", "split", "metric", "source", "reported", "measured", "95 % interval", "over", "difference", "verdict",
)  # fmt: skip
NOTE = (
    "Reported and measured: difference is measured - reported; differs: the reported value lies outside the 95 % "
    "interval of the measured one. Over seeds, the interval is Student's t; over the examples of one seed, Wilson's "
    "(accuracy) or a bootstrap, which do not reflect other seeds. A metric of the model as a whole has no interval for "
    "one seed. Examples of a cluster (rows of a template, questions on an author) are not independent, and count "
    "together."
)
SCALES = ("cpu", "smoke")
"""Endings of presets that are smaller versions of a published setting."""
EQUAL = 1e-9
"""Tolerance for rounding."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One published number and the measured one; NaN for what is not measured.

    `place` is the board's experiment, data set, forget set, model and setting. `over` says what the interval is over.
    """

    place: tuple[str, ...]
    variant: str
    entry: Reported
    measured: float = math.nan
    low: float = math.nan
    high: float = math.nan
    over: str = ""
    seeds: int = 0
    examples: int = 0
    clusters: int = 0

    @property
    def differs(self) -> bool | None:
        """Return whether the reported value lies outside the interval; None if unknown."""
        if math.isnan(self.low) or self.entry.value is None:
            return None
        return not self.low - EQUAL <= self.entry.value <= self.high + EQUAL

    def row(self) -> tuple[Any, ...]:
        """Return the row of reported.csv."""
        entry = self.entry
        reported = math.nan if entry.value is None else entry.value
        cell = (*self.place, self.variant, entry.role, entry.split, entry.metric)
        numbers = (entry.source, reported, self.measured, self.low, self.high)
        compared = (self.measured - reported, "" if self.differs is None else self.differs)
        return (*cell, *numbers, self.over, self.seeds, *compared)

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one entry per column of HEADER."""
        entry, known = self.entry, "" if self.entry.value is None else f"{self.entry.value:.4f}"
        what = (self.variant or entry.role, entry.split, entry.metric, entry.source, known)
        if math.isnan(self.measured):
            return (*what, "", "", "", "", "not measured")
        measured = f"{self.measured:.4f}"
        found = ("", "") if math.isnan(self.low) else (f"{self.low:.4f} to {self.high:.4f}", self._over())
        if entry.value is None:
            return (*what, measured, *found, "", "no number")
        verdict = {None: "no interval", True: "differs", False: "within"}[self.differs]
        return (*what, measured, *found, f"{self.measured - entry.value:+.4f}", verdict)

    def _over(self) -> str:
        """Return what the interval is over, as text."""
        if self.over == "seeds":
            return f"{self.seeds} seeds"
        if self.clusters < self.examples:
            return f"{self.examples} examples in {self.clusters} clusters, one seed"
        return f"{self.examples} examples of one seed"


def comparisons(
    runs: Runs, mine: pandas.DataFrame, table: pandas.DataFrame, place: tuple[str, ...]
) -> tuple[Comparison, ...]:
    """Compare the published numbers in a board's runs (`table`) with their summary (`mine`).

    If runs of a board have different lists, such as before and after a correction, both are shown.
    """
    found: dict[tuple[str, Reported], Comparison] = {}
    ordered = table.sort_values(["variant", "seed"])
    for run_id, variant in zip(ordered["run_id"], ordered["variant"], strict=True):
        for entry in _entries(runs, str(run_id)):
            name = str(variant) if entry.role == "unlearned" else ""
            if (name, entry) not in found:
                blank = Comparison(place=place, variant=name, entry=entry)
                found[name, entry] = _measured(runs, mine, table, blank)
    return tuple(found.values())


def scale_note(compared: Sequence[Comparison]) -> str:
    """Return a note if a board's preset is smaller than the published setting; else ""."""
    preset = compared[0].place[0] if compared else ""
    published, _, scale = preset.rpartition("_")
    if scale not in SCALES:
        return ""
    to_compare = "compare directions, not levels" if scale == "cpu" else "it only shows that the protocol runs"
    return f"{preset} is not the published setting, which is {published} (`--cfg job` shows each): {to_compare}."


def csv_rows(all_of: Iterable[Comparison]) -> pandas.DataFrame:
    """Return reported.csv as a table."""
    import pandas

    return pandas.DataFrame([one.row() for one in all_of], columns=list(COLUMNS))


def _entries(runs: Runs, run_id: str) -> Iterator[Reported]:
    """Yield a run's published numbers; leave out damaged ones with a warning."""
    try:
        for values in runs.facts[run_id].reported:
            yield typed(Reported, values, "reported")
    except UserError as error:
        log.warning("report: a reported value of %s is damaged and left out: %s", runs.folders[run_id], error)


def _measured(runs: Runs, mine: pandas.DataFrame, table: pandas.DataFrame, blank: Comparison) -> Comparison:
    """Fill in the value that the board's runs measured, and its interval."""
    chosen = mine[_at(mine, blank.entry) & (mine["variant"] == blank.variant)]
    if chosen.empty:
        return blank
    mean, low, high, seeds = (chosen.iloc[0][name] for name in ("mean", "ci_low", "ci_high", "seeds"))
    known = replace(blank, measured=float(mean), low=float(low), high=float(high), seeds=int(seeds))
    if known.seeds > 1:
        return replace(known, over="seeds")
    ran = table[table["variant"] == blank.variant] if blank.variant else table
    rows = runs.results[runs.results["run_id"].isin(ran["run_id"])]
    return _over_examples(runs.folders[str(rows[_at(rows, blank.entry)]["run_id"].iloc[0])], known)


def _at(rows: pandas.DataFrame, entry: Reported) -> pandas.Series[bool]:
    """Return which rows have an entry's role, split and metric."""
    names = ("role", "split", "metric")
    return (rows[list(names)] == [getattr(entry, name) for name in names]).all(axis=1)


def _over_examples(run: Path, known: Comparison) -> Comparison:
    """Add the interval over a run's examples, if the metric has one and scores are sound."""
    entry = known.entry
    subjects = models_of(run, entry.role, entry.split)
    others = references(run, entry.split)
    alike = len({(one.logits.shape, one.label.tobytes()) for one in (*subjects, *others)}) == 1
    found = interval_over_examples(entry.metric, subjects, others) if subjects and alike else None
    if found is None:
        return known
    examples, clusters = len(subjects[0]), len(np.unique(subjects[0].cluster))
    return replace(known, low=found[0], high=found[1], over="examples", examples=examples, clusters=clusters)
