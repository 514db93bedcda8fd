"""A board in words: what its numbers show and what they do not, method by method and as a whole.

Whether a method equals retrained is said by the verdicts alone; here is what each moved, against the original.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.errors import counted
from unlearnbench.metrics.crossed import Unit
from unlearnbench.metrics.equivalence import Differences
from unlearnbench.metrics.nearness import Moved, hardly, least, moved, passes, training
from unlearnbench.report.collect import Runs
from unlearnbench.report.headline import CHOICES, SPLITS, Headline
from unlearnbench.report.units import told, unit_of
from unlearnbench.report.verdicts import Values, Verdicts

if TYPE_CHECKING:
    import pandas

FEW = 4
"""The most methods that a sentence names one by one."""
READING = (
    "in short: where a method is nearer to retrained than the original was, or farther from it, by more than the noise "
    "floor and one row; over several seeds t-tests must show it, at .05 after Holm's correction for the methods of the "
    "board. not shown is no sign that nothing changed. Whether a method equals retrained is up to the verdicts."
)


@dataclass(frozen=True)
class Words:
    """What is said of each method in short, and of the whole board in sentences."""

    short: Mapping[str, str]
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Said:
    """A board's runs: their numbers by run, each method's runs with seed and draw, the noise floor, and the margin."""

    values: Values
    runs: Mapping[str, Sequence[tuple[str, Unit]]]
    headline: Headline
    floor: Mapping[tuple[str, str], float]
    margin: float
    rows: Mapping[str, int]

    @property
    def metric(self) -> str:
        """What methods are ranked by, and nearness is of."""
        return self.headline.ranked_by

    @property
    def is_rate(self) -> bool:
        """Whether that is a share of rows."""
        return self.metric == CHOICES.ranked_by

    @property
    def units(self) -> list[Unit]:
        """The seeds and draws of all runs."""
        return sorted({unit for of in self.runs.values() for _, unit in of})

    def at(self, run_id: str, role: str, split: str) -> float:
        """Return a run's number of what methods are ranked by; NaN if it has none."""
        return self.values.get((run_id, role, split, self.metric), math.nan)

    def least(self, split: str) -> float:
        """Return how much a distance on a split must change to count."""
        return least(self.floor.get((self.metric, split), math.nan), self.rows.get(split, 0), is_rate=self.is_rate)

    def shrunk(self, name: str, split: str) -> Differences:
        """Return by how much farther than a method the original is from retrained on a split, over seeds."""
        by_unit: dict[Unit, list[float]] = {}
        for run_id, unit in self.runs[name]:
            retrained = self.at(run_id, "retrained", split)
            before, after = (abs(self.at(run_id, role, split) - retrained) for role in ("original", "unlearned"))
            if not math.isnan(before - after):
                by_unit.setdefault(unit, []).append(before - after)
        row = 1 / self.rows[split] if self.is_rate and self.rows.get(split) else 0.0
        return Differences.of([sum(of) / len(of) for of in by_unit.values()], row, list(by_unit))

    def mean(self, role: str, split: str, name: str = "") -> float:
        """Return a role's mean over seeds and draws, of all runs or of those of one method, as the board has it."""
        chosen = self.runs[name] if name else [one for of in self.runs.values() for one in of]
        by_unit: dict[Unit, list[float]] = {}
        for run_id, unit in chosen:
            if not math.isnan(value := self.at(run_id, role, split)):
                by_unit.setdefault(unit, []).append(value)
        means = [sum(of) / len(of) for of in by_unit.values()]
        return sum(means) / len(means) if means else math.nan

    def ahead(self, name: str, split: str) -> float:
        """Return by how much more than retrained a method gets right on a split, in the mean."""
        return self.mean("unlearned", split, name) - self.mean("retrained", split, name)


def said_of(
    runs: Runs, table: pandas.DataFrame, headline: Headline, values: Values, floor: Mapping[tuple[str, str], float],
    margins: Mapping[str, float],
) -> Said:  # fmt: skip
    """Return a board's runs as its words and paired differences look at them."""
    of = {
        str(name): [(str(run_id), unit_of(runs.facts[str(run_id)])) for run_id in rows["run_id"]]
        for name, rows in table.groupby("variant", sort=True)
    }
    rows: dict[str, int] = {}
    for run_id in table["run_id"]:
        for split, count in runs.facts[str(run_id)].scored.items():
            rows[split] = min(count, rows.get(split, count))
    unit = "rate" if headline.ranked_by == CHOICES.ranked_by else "nats"
    margin = margins.get(headline.ranked_by, margins.get(unit, math.nan))
    return Said(values, of, headline, floor, margin, rows)


def words(said: Said, names: Sequence[str], verdicts: Verdicts | None) -> Words:
    """Return a board's words; `names` are its methods, nearest to retrained first."""
    if not said.headline.compared:
        return Words({}, tuple(hardly(said.mean("original", "retain")) if said.is_rate else ()))
    found: dict[str, dict[str, Moved]] = {}
    for split in SPLITS:
        shrunk = {name: of for name in names if (of := said.shrunk(name, split)).n}
        found[split] = moved(shrunk, said.least(split))
    short = {name: _short(name, {split: of.get(name, "") for split, of in found.items()}, verdicts) for name in names}
    sentences = (*_training(said, names), *_moves(said, names, found), *_verdicts(names, verdicts, said))
    return Words(short, sentences)


def _short(name: str, of: Mapping[str, Moved], verdicts: Verdicts | None) -> str:
    """Return a method's line in short: its verdict if there is one, and where it moved."""
    whole = verdicts.overall.get(name, "undecided") if verdicts else "undecided"
    if whole == "equivalent":
        return whole
    nearer = [split for split, how in of.items() if how == "nearer"]
    farther = [split for split, how in of.items() if how == "farther" and not _is_equivalent(name, split, verdicts)]
    parts: list[str] = [whole] if whole == "different" else []
    parts += [f"nearer: {', '.join(nearer)}"] if nearer else []
    parts += [f"farther: {', '.join(farther)}"] if farther else []
    return "; ".join(parts) or "not shown"


def _is_equivalent(name: str, split: str, verdicts: Verdicts | None) -> bool:
    """Return whether a verdict calls a method equivalent to retrained in what it is ranked by on a split."""
    ranked = ("accuracy", "answer_nll")
    return verdicts is not None and any(verdicts.of(name, metric, split) == "equivalent" for metric in ranked)


def _training(said: Said, names: Sequence[str]) -> Iterator[str]:
    """Yield whether original and retrained were trained equally well, and which methods trained on."""
    floor = said.floor.get((said.metric, "retain"), math.nan)
    original, retrained = (said.mean(role, "retain") for role in ("original", "retrained"))
    if math.isnan(original + retrained):
        return
    yield from training(said.headline.words, original, retrained, floor, said.margin, is_rate=said.is_rate)
    if not said.is_rate:
        return
    limit = max(one for one in (floor, said.margin, 0.0) if not math.isnan(one))
    held_out = "test" if math.isnan(said.mean("retrained", "test_retain")) else "test_retain"
    ahead = {name: (said.ahead(name, "retain"), said.ahead(name, held_out)) for name in names}
    passed = [name for name, (retain, test) in ahead.items() if passes(name, retain, test, limit)]
    if len(passed) == 1:
        yield passes(passed[0], *ahead[passed[0]], limit, held_out)
    elif passed:
        most = max(passed, key=lambda name: ahead[name][0])
        yield (
            f"{some(passed, names)} get more right than retrained on retain and on {held_out}, {most} by "
            f"{ahead[most][0]:.3f} and {ahead[most][1]:.3f}: they were trained further, so their gaps are about "
            "training, not about forgetting."
        )


def _moves(said: Said, names: Sequence[str], found: Mapping[str, Mapping[str, Moved]]) -> Iterator[str]:
    """Yield which methods are nearer to retrained than the original was, on which splits, and which farther."""
    units = said.units
    how = f"t-tests over {told(units)}, Holm's correction" if len(units) > 1 else "one seed, so other seeds may differ"
    parts = {
        move: [
            f"{split}: {some(chosen, names)}"
            for split, of in found.items()
            if (chosen := [name for name, one in of.items() if one == move])
        ]
        for move in ("nearer", "farther")
    }
    if not any(parts.values()):
        yield f"No method is shown to be nearer to retrained than the original was, or farther from it ({how})."
    if parts["nearer"]:
        yield f"Nearer to retrained than the original was ({how}), on {'; on '.join(parts['nearer'])}."
    if parts["farther"]:
        yield f"Farther from retrained than the original was, on {'; on '.join(parts['farther'])}."


def _verdicts(names: Sequence[str], verdicts: Verdicts | None, said: Said) -> Iterator[str]:
    """Yield which methods equal retrained, which differ, and for how many that is not shown."""
    if verdicts is None:
        return
    by_verdict: dict[str, list[str]] = {}
    for name in names:
        by_verdict.setdefault(verdicts.overall.get(name, "undecided"), []).append(name)
    parts = [
        f"{what}: {some(by_verdict[verdict], names)}"
        for verdict, what in (("equivalent", "Equivalent to retrained"), ("different", "Different from retrained"))
        if verdict in by_verdict
    ]
    if "undecided" in by_verdict:
        few = f"{_seeds(said, by_verdict['undecided'])} too few to tell"
        parts.append(f"Equivalent or different, undecided: {some(by_verdict['undecided'], names)}, since {few}")
    yield ". ".join(parts) + "."


def _seeds(said: Said, names: Sequence[str]) -> str:
    """Return how many seeds these methods have, with the verb: "3 seeds are", or "3 to 4 seeds are"."""
    counts = sorted({len({unit for _, unit in said.runs[name]}) for name in names})
    if len(counts) > 1:
        return f"{counts[0]} to {counts[-1]} seeds are"
    units = [unit for _, unit in said.runs[names[0]]]
    return f"{told(units)} {'is' if counts == [1] else 'are'}"


def some(chosen: Sequence[str], names: Sequence[str]) -> str:
    """Return methods by name where they are few, else how many of the board's they are; "none" would read as nobody."""
    chosen = ["method=none" if name == "none" else name for name in chosen]
    if len(chosen) == len(names) > 1:
        return f"all {len(names)} methods"
    return ", ".join(chosen) if len(chosen) <= FEW else f"{len(chosen)} of {counted(len(names), 'method')}"
