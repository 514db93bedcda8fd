"""Means and intervals over seeds, and the noise floor between references of different seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearnbench.evidence import Scores
from unlearnbench.report.bounds import all_bounds
from unlearnbench.report.collect import GROUP, Runs
from unlearnbench.report.scores import read

if TYPE_CHECKING:
    import pandas

CELL = (*GROUP, "setting", "variant", "request", "role", "split", "metric")


def interval(values: Sequence[float]) -> tuple[float, float, float, int]:
    """Return the mean, the ends of its 95 % Student t interval, and the number of values.

    For a single value the ends are NaN.
    """
    from unlearnbench.metrics.intervals import student

    known = np.array([value for value in values if not math.isnan(value)])
    if len(known) == 0:
        return math.nan, math.nan, math.nan, 0
    mean = float(known.mean())
    if len(known) == 1:
        return mean, math.nan, math.nan, 1
    half = float(student(len(known)) * known.std(ddof=1) / math.sqrt(len(known)))
    return mean, mean - half, mean + half, len(known)


def summarise(runs: Runs) -> pandas.DataFrame:
    """Return mean, interval and number of seeds for each metric of each group and variant.

    The references and the original count once per seed, however many methods were compared with them.
    """
    import pandas

    columns = [*CELL, "mean", "ci_low", "ci_high", "seeds"]
    if runs.results.empty:
        return pandas.DataFrame(columns=columns)
    names = runs.table[runs.table["run_id"] != ""].set_index("run_id")
    added = {column: runs.results["run_id"].map(names[column]) for column in ("setting", "variant")}
    rows = runs.results.assign(setting=added["setting"], variant=added["variant"])
    rows.loc[~rows["role"].str.startswith("unlearned"), "variant"] = ""
    per_seed = rows.groupby([*CELL, "seed"], sort=True)["value"].mean()
    cells = per_seed.groupby(level=list(CELL), sort=True).agg(["mean", "std", "count"]).reset_index()
    return _with_intervals(cells)[columns]


def _with_intervals(cells: pandas.DataFrame) -> pandas.DataFrame:
    """Add the ends of the 95 % Student t interval to a table with mean, std and count, within each metric's range."""
    from unlearnbench.metrics.intervals import student

    known = all_bounds()
    lows, highs = ({name: bounds[end] for name, bounds in known.items()} for end in (0, 1))
    widths = {count: student(count) / math.sqrt(count) if count > 1 else math.nan for count in set(cells["count"])}
    half = cells["count"].map(widths) * cells["std"]
    low, high = cells["mean"] - half, cells["mean"] + half
    return cells.assign(
        ci_low=low.clip(lower=cells["metric"].map(lows)),
        ci_high=high.clip(upper=cells["metric"].map(highs)),
        seeds=cells["count"],
    )


def floors(runs: Runs, run_ids: Collection[str]) -> dict[tuple[str, str], float]:
    """Return the noise floor of these runs of one group and setting, by (metric, split).

    Taken from the runs' own floor rows if they had several references. Otherwise the mean absolute difference over
    pairs of references from different seeds with the same forget set; for divergences, from their stored scores.
    """
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
