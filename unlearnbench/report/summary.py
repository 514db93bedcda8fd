"""Means and intervals over seeds, and the noise floor between references of different seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnbench.evidence import Scores
from unlearnbench.metrics.crossed import Unit, mean_of
from unlearnbench.report.bounds import Bounds, bounds, within
from unlearnbench.report.collect import GROUP, Runs
from unlearnbench.report.scores import read

if TYPE_CHECKING:
    import pandas

CELL = (*GROUP, "setting", "variant", "request", "role", "split", "metric")


def interval(
    values: Sequence[float], units: Iterable[Unit] | None = None, ends: Bounds = (-math.inf, math.inf)
) -> tuple[float, float, float, int]:
    """Return the mean, the ends of its 95 % Student t interval, and the number of values.

    `units` are the seed and draw of each value, by default a seed each. The interval is cut at the `ends` of what is
    measured. For a single value there is none: NaN.
    """
    pairs = units if units is not None else ((number, 0) for number in itertools.count())
    by_unit = {unit: value for unit, value in zip(pairs, values, strict=False) if not math.isnan(value)}
    found = mean_of(by_unit)
    return found.value, *within(found.value - found.half, found.value + found.half, ends), len(by_unit)


def summarise(runs: Runs) -> pandas.DataFrame:
    """Return mean, interval and number of seeds and draws for each metric of each group and variant.

    The references and the original count once per seed, however many methods were compared with them.
    """
    import pandas

    columns = [*CELL, "mean", "ci_low", "ci_high", "seeds", "draws"]
    if runs.results.empty:
        return pandas.DataFrame(columns=columns)
    names = runs.table[runs.table["run_id"] != ""].set_index("run_id")
    added = {column: runs.results["run_id"].map(names[column]) for column in ("setting", "variant", "forget", "draw")}
    rows = runs.results.assign(**added)
    rows.loc[~rows["role"].str.startswith("unlearned"), "variant"] = ""
    per_unit = rows.groupby([*CELL, "seed", "draw"], sort=True)["value"].mean().reset_index()
    cells = per_unit.groupby(list(CELL), sort=True).agg(
        mean=("value", "mean"), std=("value", "std"), count=("value", "count"), seeds=("seed", "nunique"),
        draws=("draw", "nunique"),
    )  # fmt: skip
    return _with_intervals(cells, per_unit)[columns]


def _with_intervals(cells: pandas.DataFrame, per_unit: pandas.DataFrame) -> pandas.DataFrame:
    """Add the ends of the 95 % intervals to a table by cell, within each metric's range.

    Cells with one seed or one draw are done all at once; the others are clustered by both, one at a time.
    """
    import pandas

    from unlearnbench.metrics.intervals import student

    widths = {count: student(count) / math.sqrt(count) if count > 1 else math.nan for count in set(cells["count"])}
    half = cells["count"].map(widths) * cells["std"]
    crossed = cells.index[(cells["seeds"] > 1) & (cells["draws"] > 1)]
    if len(crossed):
        by_cell = per_unit.set_index(list(CELL)).sort_index()
        for cell in crossed:
            of = by_cell.loc[[cell]]
            units = zip(of["seed"], of["draw"], strict=True)
            half[cell] = mean_of(dict(zip(units, of["value"], strict=True))).half
    cells = cells.reset_index()
    ends = pandas.DataFrame([bounds(metric) for metric in cells["metric"]], columns=["low", "high"])
    half = half.reset_index(drop=True)
    return cells.assign(
        ci_low=(cells["mean"] - half).clip(lower=ends["low"]), ci_high=(cells["mean"] + half).clip(upper=ends["high"])
    )


def floors(runs: Runs, run_ids: Collection[str]) -> dict[tuple[str, str], float]:
    """Return the noise floor of these runs of one group and setting, by (metric, split): the mean over draws.

    Between retrained models that never saw the same rows: those of one draw of the forget set. Taken
    from the runs' own floor rows if they had several references. Otherwise the mean absolute difference over pairs of
    references from different seeds with the same forget set; for divergences, from their stored scores.
    """
    by_draw: dict[int, list[str]] = {}
    for run_id in sorted(run_ids):
        by_draw.setdefault(runs.facts[run_id].draw, []).append(run_id)
    found = [_floors(runs, of) for of in by_draw.values()]
    cells = dict.fromkeys(cell for one in found for cell in one)
    return {cell: float(np.mean([one[cell] for one in found if cell in one])) for cell in cells}


def _floors(runs: Runs, run_ids: Collection[str]) -> dict[tuple[str, str], float]:
    """Return the noise floor of runs with one forget set."""
    results = runs.results
    mine = results[results["run_id"].isin(run_ids) & (results["role"] == "retrained")]
    own = mine[mine["metric"].str.startswith("floor_")]
    if len(own):
        means = own.groupby(["metric", "split"])["value"].mean()
        return {(str(metric).removeprefix("floor_"), str(split)): value for (metric, split), value in means.items()}
    found = {}
    for (metric, split), rows in mine.groupby(["metric", "split"]):
        values = list(rows.groupby("seed")["value"].mean())
        pairs = list(itertools.combinations(values, 2))
        if pairs:
            found[(str(metric), str(split))] = float(np.mean([abs(a - b) for a, b in pairs]))
    return {**found, **_divergence_floors(runs, mine)}


def _alike(one: Scores, other: Scores) -> bool:
    return one.logits.shape == other.logits.shape and np.array_equal(one.index, other.index)


def _divergence_floors(runs: Runs, mine: pandas.DataFrame) -> dict[tuple[str, str], float]:
    """Compare the stored scores of the retrained models of different seeds."""
    from unlearnbench.evidence import OPTIONS, Evidence
    from unlearnbench.metrics import catalogue, numbers

    one_a_seed: dict[Any, str] = dict(mine.groupby("seed")["run_id"].first())
    places = [runs.folders[run_id] for run_id in one_a_seed.values()]
    relative = [metric for metric in catalogue() if metric.relative and metric.name != "tug_of_war"]
    known = [metric for metric in relative if set(metric.needs) <= {OPTIONS}]
    found = {}
    for split in dict.fromkeys(split for metric in known for split in metric.splits):
        scored = [scores for place in places if (scores := read(place, "retrained", split)) is not None]
        scored = [scores for scores in scored if OPTIONS in scores.known]
        pairs = itertools.permutations([scores for scores in scored if _alike(scores, scored[0])], 2)
        seen = (Evidence({split: a}, {split: a}, ({split: b},), (), whole_class=False) for a, b in pairs)
        values = [numbers([metric for metric in known if split in metric.splits], one, split) for one in seen]
        for name in values[0] if values else ():
            found[name, split] = float(np.mean([each[name] for each in values]))
    return found
