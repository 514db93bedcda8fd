"""The evaluations over seeds of a board's runs: their numbers as rows and tables, and what is missing for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.across.cell import Across, Compared, over_draws, side
from unlearnbench.across.kinds import asked
from unlearnbench.files.escapes import csv_table
from unlearnbench.report.collect import GROUP, Runs
from unlearnbench.report.joined import ORIGINAL, Joined, join

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    *GROUP, "setting", "draw", "evaluation", "variant", "role", "split", "metric", "value", "null", "null_low",
    "null_high", "within_null", "models", "unlearned", "references", "seeds", "unlearn_seeds",
)  # fmt: skip
READING = (
    "The null is what retrained models have against other retrained models: its mean and, in brackets, its 5th and "
    "95th percentile over the draws. A perfect method is there, and not at 0 or 1. A * marks values that are no worse "
    "than 95 % of the null."
)

Table = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...], str]
"""Name, header, lines, and a note."""


@dataclass(frozen=True)
class OverSeeds:
    """What a board says over seeds: `rows` of across.csv, tables, and remarks on what is missing."""

    rows: tuple[dict[str, Any], ...] = ()
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = ()


def by_draw(runs: Runs, table: pandas.DataFrame) -> OverSeeds:
    """Compute the evaluations over seeds of a board, for each draw of the forget set by itself."""
    found = [(int(draw), over_seeds(runs, rows)) for draw, rows in table.groupby("draw", sort=True)]
    if len(found) == 1:
        return found[0][1]
    tables: list[Table] = []
    for draw, one in found:
        tables += [(f"{name}, draw {draw}", *rest) for name, *rest in one.tables]  # type: ignore[misc]
    rows = tuple(row for _, one in found for row in one.rows)
    return OverSeeds(rows, tuple(tables), tuple(f"Draw {draw}: {text}" for draw, one in found for text in one.remarks))


def over_seeds(runs: Runs, table: pandas.DataFrame) -> OverSeeds:
    """Compute the evaluations over seeds that any of a board's runs asked for, from all of the board's runs."""
    chosen = _chosen(runs, table)
    if not chosen:
        return OverSeeds()
    joined = join(runs, table)
    rows: list[dict[str, Any]] = []
    tables, remarks = [], list(joined.remarks)
    for name, one in chosen.items():
        enough = {who: n for who, n in joined.counts().items() if side(n, joined.references) >= one.fewest}
        remarks += _missing(name, one, joined)
        if not enough:
            continue
        found = over_draws(one, name, {who: joined.models(who) for who in enough}, joined.retrained())
        tables.append(_table(name, one, joined, found))
        remarks += [text for who in enough if (text := _one_model(name, who, joined))]
        rows += [row for who, numbers in found.items() for row in _rows(name, who, numbers, joined, table)]
    return OverSeeds(tuple(rows), tuple(tables), tuple(dict.fromkeys(remarks)))


def write(target: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write across.csv into a report's folder; where there are no numbers over seeds, remove an old one."""
    import pandas

    (target / "across.csv").unlink(missing_ok=True)
    if rows:
        table = csv_table(pandas.DataFrame(rows, columns=list(COLUMNS)))
        table.to_csv(target / "across.csv", index=False, lineterminator="\n")


def _chosen(runs: Runs, table: pandas.DataFrame) -> dict[str, Across]:
    """Return the evaluations over seeds that the runs asked for, each with the settings of the first run."""
    settings: dict[str, Mapping[str, float]] = {}
    for run_id in table["run_id"]:
        for name, values in runs.facts[str(run_id)].across.items():
            settings.setdefault(name, values)
    found = {name: asked(name, values) for name, values in settings.items()}
    return {name: one for name, one in found.items() if one is not None}


def _missing(name: str, one: Across, joined: Joined) -> Iterator[str]:
    """Yield what an evaluation lacks."""
    counts = {who: n for who, n in joined.counts().items() if who != ORIGINAL}
    few = [f"{who} has {n}" for who, n in counts.items() if n < one.fewest]
    if joined.references < 2 * one.fewest:
        few.append(f"there are {joined.references} retrained ones")
    if few:
        yield (
            f"{name} needs {one.fewest} unlearned models or more of a method, and {2 * one.fewest} retrained ones; "
            f"{', '.join(few)}. Try: -m 'seed=range(0,{one.fewest})' reference.count=2."
        )


def _one_model(name: str, who: str, joined: Joined) -> str:
    """Return what to say of a method whose models are all the same; "" for others."""
    models = joined.models(who)
    if not models.are_one:
        return ""
    return (
        f"{name}: all {len(models)} models of {who} are the same, since it draws nothing at random and they start from "
        "one original. So they can be told from retrained ones, whatever they forgot. Try: vary seed."
    )


def _rows(
    name: str, who: str, numbers: Sequence[Compared], joined: Joined, table: pandas.DataFrame
) -> Iterator[dict[str, Any]]:
    """Yield the rows of across.csv for one kind of model."""
    group = {column: str(table[column].iloc[0]) for column in (*GROUP, "setting", "draw")}
    seeds, unlearn_seeds = joined.varied(who)
    for one in numbers:
        yield {
            **group, "evaluation": name, "variant": "" if who == ORIGINAL else who,
            "role": ORIGINAL if who == ORIGINAL else "unlearned", "split": one.split, "metric": one.metric,
            "value": one.value, "null": one.null, "null_low": one.null_low, "null_high": one.null_high,
            "within_null": "yes" if one.within else "no", "models": one.models, "unlearned": joined.counts()[who],
            "references": joined.references, "seeds": seeds, "unlearn_seeds": unlearn_seeds,
        }  # fmt: skip


def _table(name: str, asked_for: Across, joined: Joined, found: Mapping[str, Sequence[Compared]]) -> Table:
    """Return an evaluation's table: its null, then the original and the methods."""
    columns = asked_for.columns(max(numbers[0].models for numbers in found.values()))
    cells = {who: {(one.metric, one.split): one for one in numbers} for who, numbers in found.items()}
    nulls = {numbers[0].models: cells[who] for who, numbers in found.items()}
    lines = []
    for models, of in sorted(nulls.items()):
        shown = (
            f"{of[at].null:.3f} ({of[at].null_low:.3f} to {of[at].null_high:.3f})" if at in of else "" for at in columns
        )
        lines.append((f"null, {models} models a side", *shown))
    for who, of in cells.items():
        lines.append(
            (who, *(f"{of[at].value:.3f}{' *' if of[at].within else ''}" if at in of else "" for at in columns))
        )
    note = f"Joined: {joined.references} retrained models; {_varied(joined, found)}. Mean of {asked_for.draws} draws."
    return name, ("method", *(f"{metric} {split}" for metric, split in columns)), tuple(lines), f"{note} {READING}"


def _varied(joined: Joined, found: Mapping[str, object]) -> str:
    """Return how many models of each method there are, and which seeds they differ in."""
    named: dict[str, list[str]] = {}
    for who in found:
        if who == ORIGINAL:
            continue
        seeds, unlearn_seeds = joined.varied(who)
        originals = "one original" if seeds == 1 else f"{seeds} originals"
        drawn = f"{unlearn_seeds} unlearning seed{'s' if unlearn_seeds > 1 else ''}"
        named.setdefault(f"{joined.counts()[who]} unlearned ones, of {originals} and {drawn}", []).append(who)
    if len(named) == 1:
        return next(iter(named))
    return "; ".join(f"{text} ({', '.join(who)})" for text, who in named.items())
