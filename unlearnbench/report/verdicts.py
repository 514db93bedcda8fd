"""Verdicts of a board: which methods are equivalent to retrained, which are different, and where too little is known.

Each headline number is tested over the paired differences of seeds, against the margin that its runs or the command
state, and p is Holm's over the board's methods. `metrics/equivalence.py` has the tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from unlearnbench.errors import counted
from unlearnbench.metrics import Metric, catalogue
from unlearnbench.metrics.crossed import Unit
from unlearnbench.metrics.equivalence import REFERENCES, Paired, Verdict, holm, overall, paired, verdict
from unlearnbench.report.collect import GROUP, Runs
from unlearnbench.report.headline import Column, Headline
from unlearnbench.report.units import cell, told, unit_of

if TYPE_CHECKING:
    import pandas

Values = Mapping[tuple[str, str, str, str], float]
"""The numbers of a board's runs, by run, role, split and metric."""
READING = (
    "Verdicts are about differences to retrained over seeds; of JS to retrained, about how much farther away the "
    "method is than another retrained model, and of gap_to_clean, about differences to clean. equivalent: two "
    "one-sided t-tests show that the mean difference is smaller than the margin (±). different: a two-sided t-test "
    "shows that it is not 0. undecided: neither is shown. That is no sign of equality; more seeds can decide. p is "
    "adjusted by Holm's method over the methods of a board, for each column; where undecided, the p of equivalence "
    "comes first, then that of a difference. all: equivalent if every column is; different if one still is after "
    "Bonferroni's correction for their number."
)


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of a board as a table of text, what to say below it, and one row a test for verdicts.csv."""

    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str
    rows: tuple[dict[str, Any], ...]
    overall: Mapping[str, Verdict]
    """Each method's verdict of all columns."""

    def of(self, method: str, metric: str, split: str) -> str:
        """Return a method's verdict of one number; "" where it has none."""
        found = (row for row in self.rows if (row["variant"], row["metric"], row["split"]) == (method, metric, split))
        return str(next(found, {"verdict": ""})["verdict"])


class Tested(NamedTuple):
    """A column that can be tested: its metric and margin; by method its tests, with adjusted p, and their units."""

    column: Column
    metric: str
    margin: float
    tests: dict[str, Paired]
    units: dict[str, list[Unit]]


def verdicts(
    runs: Runs,
    table: pandas.DataFrame,
    headline: Headline,
    names: Sequence[str],
    margins: Mapping[str, float],
    values: Values,
) -> Verdicts | None:
    """Return the verdicts of a board's methods in the order of `names`; None without retrained models or margins.

    `table` has the board's runs, and `values` their numbers.
    """
    if not headline.compared or not margins:
        return None
    known = {metric.name: metric for metric in catalogue()}
    by_method = {
        str(name): [(str(run_id), unit_of(runs.facts[str(run_id)])) for run_id in rows["run_id"]]
        for name, rows in table.groupby("variant", sort=True)
    }
    columns, tested, left_out = _columns(runs, table, headline, values), [], []
    for column in columns:
        metric = _compared(column.metric, values)
        stated = (margins[name] for name in (metric, f"gap_{metric}") if name in margins)
        margin = next(stated, margins.get(known[metric].unit) if metric in known else None)
        why = "no margin is stated for it" if margin is None else ""
        tests: dict[str, Paired] = {}
        units: dict[str, list[Unit]] = {}
        if margin is not None:
            of = _Number(metric, column.split, known.get(metric), values, runs)
            for name, of_method in by_method.items():
                tests[name], units[name] = of.test(of_method, margin)
            why = "" if any(one.n for one in tests.values()) else "it needs reference.count=2 or more"
        if why or margin is None:
            left_out.append(f"{column.title} has no verdict: {why}.")
        else:
            tested.append(Tested(column, metric, margin, _adjusted(tests), units))
    if not tested:
        return None
    header = ("method", "all", *(f"{one.column.title} ± {one.margin:g}" for one in tested), "seeds")
    lines = tuple(_line(name, tested) for name in names if name in by_method)
    note = " ".join([_family(runs, table, by_method, tested), *left_out])
    place = {name: str(table.iloc[0][name]) for name in (*GROUP, "setting")}
    rows = tuple(place | row for one in tested for row in _rows(one, names))
    return Verdicts(header, lines, note, rows, {name: _overall(name, tested) for name in names if name in by_method})


def csv_rows(found: Sequence[Verdicts]) -> pandas.DataFrame:
    """Return the table of verdicts.csv."""
    import pandas

    return pandas.DataFrame([row for one in found for row in one.rows])


class _Number(NamedTuple):
    """A metric on a split, and where its values are."""

    metric: str
    split: str
    known: Metric | None
    values: Values
    runs: Runs

    def test(self, of_method: Sequence[tuple[str, Unit]], margin: float) -> tuple[Paired, list[Unit]]:
        """Return the tests over a method's runs, given with their seeds and draws, and the units that have a value.

        Runs of one seed and draw count as one.
        """
        by_unit: dict[Unit, list[float]] = {}
        for run_id, unit in of_method:
            if (found := self.difference(run_id)) is not None:
                by_unit.setdefault(unit, []).append(found)
        rows = [count for run_id, _ in of_method if (count := self.runs.facts[run_id].scored.get(self.split))]
        is_share = self.known is not None and self.known.unit == "rate"
        least = 1 / min(rows) if rows and is_share else 0.0
        tests = paired([sum(found) / len(found) for found in by_unit.values()], margin, least, list(by_unit))
        places = [p for run_id, _ in of_method if (p := self._at(run_id, "unlearned", f"p_{self.metric}")) is not None]
        return replace(tests, p_different=places[0]) if tests.n == 1 == len(places) else tests, list(by_unit)

    def difference(self, run_id: str) -> float | None:
        """Return a run's difference to retrained; of a distance to retrained, that to another retrained model's.

        A gap that is no difference to retrained (gap_to_clean) is a difference already.
        """
        if self.metric.startswith("gap_"):
            return self._at(run_id, "unlearned", self.metric)
        gap = self._at(run_id, "unlearned", f"gap_{self.metric}")
        if self.known is not None and self.known.relative:
            floor = self._at(run_id, "retrained", f"floor_{self.metric}")
            return None if gap is None or floor is None else abs(gap) - floor
        own, target = (self._at(run_id, role, self.metric) for role in ("unlearned", "retrained"))
        return gap if gap is not None else None if own is None or target is None else own - target

    def _at(self, run_id: str, role: str, metric: str) -> float | None:
        value = self.values.get((run_id, role, self.split, metric), math.nan)
        return None if math.isnan(value) else value


def _compared(metric: str, values: Values) -> str:
    """Return the metric whose difference to retrained a column shows, or the column's own if it is no such gap."""
    of = metric.removeprefix("gap_")
    return of if any(name == of for _, _, _, name in values) else metric


def margins_of(runs: Runs, table: pandas.DataFrame, given: Mapping[str, float]) -> dict[str, float]:
    """Return the margins of a board's runs; where they state several, the smallest. Those `given` count first."""
    found: dict[str, float] = {}
    for run_id in table["run_id"]:
        for name, margin in runs.facts[str(run_id)].margin.items():
            found[name] = min(margin, found.get(name, margin))
    return {**found, **given}


def values_of(runs: Runs, table: pandas.DataFrame) -> dict[tuple[str, str, str, str], float]:
    """Return the numbers of a board's runs for the three roles, of the last request of a stream."""
    rows = runs.results
    rows = rows[rows["run_id"].isin(set(table["run_id"])) & rows["role"].isin(("original", "unlearned", "retrained"))]
    rows = rows[rows["request"] == rows["request"].max()]
    columns = ("run_id", "role", "split", "metric")
    return dict(zip(zip(*(rows[name] for name in columns), strict=True), rows["value"], strict=True))


def _columns(runs: Runs, table: pandas.DataFrame, headline: Headline, values: Values) -> list[Column]:
    """Return what is tested: the board's own columns, then those of further evaluations that retrained has too.

    A metric and the gap of it are one test.
    """
    found = {(one.metric, one.split): one for one in (*headline.before, *headline.after)}
    of_retrained = runs.results[
        runs.results["run_id"].isin(set(table["run_id"])) & (runs.results["role"] == "retrained")
    ]
    both = set(zip(of_retrained["metric"], of_retrained["split"], strict=True))
    for run_id in table["run_id"]:
        for name, columns in runs.facts[str(run_id)].headline.items():
            for metric, split in ((_compared(metric, values), split) for metric, split in columns):
                if name != "standard" and (metric, split) in both:
                    found.setdefault((metric, split), Column(f"{metric} {split}", metric, split))
    return list(found.values())


def _adjusted(tests: Mapping[str, Paired]) -> dict[str, Paired]:
    """Return the tests of a column with Holm's p over its methods."""
    equivalent, different = (holm([getattr(one, p) for one in tests.values()]) for p in ("p_equivalent", "p_different"))
    return {
        name: replace(one, p_equivalent=float(first), p_different=float(second))
        for (name, one), first, second in zip(tests.items(), equivalent, different, strict=True)
    }


def _line(name: str, tested: Sequence[Tested]) -> tuple[str, ...]:
    """Return a method's line: the verdict of all columns, of each with its p, and the number of seeds."""
    own = [one.tests[name] for one in tested]
    units = max((one.units[name] for one in tested), key=len)
    return (name, _overall(name, tested), *map(_cell, own), cell(units) or "0")


def _overall(name: str, tested: Sequence[Tested]) -> Verdict:
    """Return a method's verdict of all columns."""
    own = [one.tests[name] for one in tested]
    return overall([one.p_equivalent for one in own], [one.p_different for one in own])


def _cell(of: Paired) -> str:
    found = verdict(of.p_equivalent, of.p_different)
    shown = {"equivalent": (of.p_equivalent,), "different": (of.p_different,)}.get(
        found, (of.p_equivalent, of.p_different)
    )
    known = [_p(p) for p in shown if not math.isnan(p)]
    return f"{found}, p {' and '.join(known)}" if known else found


def _p(p: float) -> str:
    if p < 0.001 or p >= 0.995:
        return "< .001" if p < 0.001 else "1"
    return f"{p:.{3 if p < 0.1 else 2}f}".removeprefix("0")


def _family(
    runs: Runs, table: pandas.DataFrame, by_method: Mapping[str, Sequence[tuple[str, Unit]]], tested: Sequence[Tested]
) -> str:
    """Return how many methods a p is adjusted for, and what a board with single seeds cannot show."""
    words = [f"p is adjusted for the {counted(len(by_method), 'method')} of this board, column by column."]
    fewest = min(one.n for each in tested for one in each.tests.values())
    if fewest < 2:
        references = max((runs.facts[str(run_id)].references or 0 for run_id in table["run_id"]), default=0)
        words.append("One seed shows no equivalence: try a sweep over seed=0,1,2,3,4.")
        words.append(
            f"Its place among {references} retrained models can show a difference: the least p is "
            f"{_p(1 / (references + 1))}, before adjustment."
            if references >= REFERENCES
            else f"It shows no difference either, without {REFERENCES} retrained models or more (reference.count)."
        )
    elif any("undecided" in cell for name in by_method for cell in _line(name, tested)):
        units = min((of for each in tested for of in each.units.values()), key=len)
        words.append(f"Where it says undecided, {told(units)} are too few to tell.")
    return " ".join(words)


def _rows(of: Tested, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of verdicts.csv of a column."""
    found = []
    for name in (name for name in names if name in of.tests):
        test = of.tests[name]
        found.append(
            {
                "variant": name,
                "metric": of.metric,
                "split": of.column.split,
                "margin": of.margin,
                "difference": test.mean,
                "low_90": test.low,
                "high_90": test.high,
                "seeds": len({seed for seed, _ in of.units[name]}),
                "draws": len({draw for _, draw in of.units[name]}),
                "p_equivalent": test.p_equivalent,
                "p_different": test.p_different,
                "family": len(of.tests),
                "verdict": verdict(test.p_equivalent, test.p_different),
            }
        )
    return found
