"""The leaderboard: the methods of each setting, ranked by distance to retrained where there is a retrained model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from unlearnbench.metrics.crossed import Unit
from unlearnbench.report.board import Added, Board, Cell, Line
from unlearnbench.report.bounds import bounds
from unlearnbench.report.collect import GROUP, Runs
from unlearnbench.report.curves import curves
from unlearnbench.report.exposed import exposed
from unlearnbench.report.families import families
from unlearnbench.report.headline import SPLITS, Column, Headline, headline_of
from unlearnbench.report.language import bias_rows, premise_text
from unlearnbench.report.notes import base_note, checkpoints, cost_text, remarks, rows_text
from unlearnbench.report.over_seeds import OverSeeds, by_draw
from unlearnbench.report.paired import PairedDifferences, paired_differences
from unlearnbench.report.price import price
from unlearnbench.report.reported import comparisons
from unlearnbench.report.summary import floors, interval
from unlearnbench.report.units import cell
from unlearnbench.report.verdicts import margins_of, values_of, verdicts
from unlearnbench.report.words import Said, said_of, words

if TYPE_CHECKING:
    import pandas

Cells = Mapping[tuple[str, str, str, str], tuple[Cell, int, int]]
"""Cells by variant, role, metric and split, each with its number of seeds and of draws."""


def boards(runs: Runs, summary: pandas.DataFrame, margins: Mapping[str, float]) -> list[Board]:
    """Return one board per experiment, data set, forget set, model and setting.

    `margins` of verdicts count before those that the runs state.
    """
    done = runs.table[runs.table["status"] == "done"]
    keys = [*GROUP, "setting"]
    found = [
        (rows, _board(runs, summary, tuple(map(str, group)), rows, margins))
        for group, rows in done.groupby(keys, sort=True)
    ]
    return [_with_seeds(board, by_draw(runs, rows)) for rows, board in found]


def _with_seeds(board: Board, seeds: OverSeeds) -> Board:
    """Return a board with its numbers over seeds, and what is missing for them."""
    tables = (Added(*one) for one in seeds.tables)
    return replace(board, added=(*board.added, *tables), remarks=(*board.remarks, *seeds.remarks), across=seeds.rows)


def _in_words(board: Board, said: Said, place: Mapping[str, str]) -> Board:
    """Return a board with what its numbers show in words, and how its methods differ from the best."""
    names = [line.name for line in board.lines if line.role == "unlearned"]
    found = words(said, names, board.verdicts)
    pairs = paired_differences(said, names) if said.headline.compared else PairedDifferences()
    lines = (replace(line, short=found.short.get(line.name, "")) for line in board.lines)
    return replace(
        board,
        lines=tuple(lines),
        words=(*found.sentences, pairs.sentence) if pairs.sentence else found.sentences,
        paired=tuple({**place, **row} for row in pairs.rows),
        added=(*((Added(*pairs.table),) if pairs.table else ()), *board.added),
    )


def _board(
    runs: Runs, summary: pandas.DataFrame, group: tuple[str, ...], table: pandas.DataFrame, given: Mapping[str, float]
) -> Board:
    mine = summary[(summary[[*GROUP, "setting"]] == list(group)).all(axis=1)]
    mine = mine[mine["request"] == mine["request"].max()]  # of a stream, the state after its last request
    cells = _cells(mine)
    compared = any(role == "retrained" for _, role, _, _ in cells)
    floor = floors(runs, set(table["run_id"]))
    of = headline_of(set(mine["metric"]), compared)
    noise = _mean([floor.get((of.ranked_by, split), math.nan) for split in SPLITS])
    roles = ("retrained", "original") if compared else ("original",)
    reference = [_line(cells, of, "", role, role) for role in roles]
    gaps = _gaps(runs, of, table)
    methods = [
        _method(cells, of, str(variant), rows, gaps.get(str(variant), {}), noise)
        for variant, rows in table.groupby("variant", sort=True)
    ]
    experiment, dataset, forget, model, setting = group
    apart = "; ".join(name for name in (experiment, setting) if name)
    draws = table["draw"].nunique()
    drawn = f", {draws} draws" if draws > 1 else ""
    title = f"{model} on {dataset}, forgetting {forget}{drawn}" + (f" ({apart})" if apart else "")
    lines = (*reference, *sorted(methods, key=lambda line: (math.isnan(line.gap.mean), line.gap.mean)))

    def shown(variant: str, role: str, metric: str, split: str) -> str:
        return str(_cell(cells, variant, role, metric, split))

    bias = bias_rows([(line.name, line.role) for line in lines], shown, set(mine["metric"]))
    published = comparisons(runs, mine, table, group)
    added = (*_further(of.added, lines, shown), *_added(runs, cells, table))
    added += tuple(Added(*one) for one in price(table)) if compared else ()
    names = [line.name for line in lines if line.role == "unlearned"]
    margins, values = margins_of(runs, table, given), values_of(runs, table)
    board = Board(
        title, lines, noise, floor, premise_text(runs, table), cost_text(table) if compared else "", base_note(table),
        tuple(bias), added, published, of, checkpoints(runs, table), rows_text(runs, table), remarks(runs, table),
        verdicts(runs, table, of, names, margins, values), exposed(runs, table, names), place=group,
        families=families(table),
        curves=curves({at: one[0].mean for at, one in cells.items()}, names, of.plotted),
    )  # fmt: skip
    place = dict(zip((*GROUP, "setting"), group, strict=True))
    return _in_words(board, said_of(runs, table, of, values, floor, margins), place)


def _seconds(table: pandas.DataFrame) -> str:
    """Return the mean seconds of an unlearning without its validation and preparation, as text."""
    columns = ["seconds", "validation_seconds", "preparation_seconds"]
    known = [
        float(spent) - float(validation or 0) - float(preparation or 0)
        for spent, validation, preparation in table[columns].itertuples(index=False)
        if spent is not None and not math.isnan(spent)
    ]
    return f"{sum(known) / len(known):.1f}" if known else ""


def _further(
    columns: Sequence[Column], lines: Sequence[Line], cell: Callable[[str, str, str, str], str]
) -> tuple[Added, ...]:
    """Return the headline's further table, of all models."""
    if not columns:
        return ()
    rows = [
        (
            line.name,
            *(cell(line.name if line.role == "unlearned" else "", line.role, of.metric, of.split) for of in columns),
        )
        for line in lines
    ]
    return (Added("answers on all splits", ("method", *(column.title for column in columns)), tuple(rows)),)


def _added(runs: Runs, cells: Cells, table: pandas.DataFrame) -> tuple[Added, ...]:
    """Return the headlines of all evaluations but the standard one, whose columns are the board's own."""
    columns: dict[str, dict[tuple[str, str], None]] = {}
    for run_id in table["run_id"]:
        for name, headline in runs.facts[run_id].headline.items():
            columns.setdefault(name, {}).update(dict.fromkeys(headline))
    variants = sorted({str(variant) for variant in table["variant"]})
    found = []
    for name, of in columns.items():
        header = ("method", *(f"{metric} {split}" for metric, split in of))
        lines = [(one, *(str(_cell(cells, one, "unlearned", *cell)) for cell in of)) for one in variants]
        shown = _without_empty(header, lines)
        if name != "standard" and len(shown[0]) > 1:
            found.append(Added(name, *shown))
    return tuple(found)


def _gaps(runs: Runs, of: Headline, table: pandas.DataFrame) -> dict[str, dict[Unit, float]]:
    """Return the mean absolute gaps of a board's methods, by seed and draw."""
    rows = runs.results
    rows = rows[(rows["metric"] == f"gap_{of.ranked_by}") & rows["split"].isin(SPLITS)]
    known = {name: dict(zip(table["run_id"], table[name], strict=True)) for name in ("variant", "draw")}
    rows = rows.assign(value=rows["value"].abs(), **{name: rows["run_id"].map(one) for name, one in known.items()})
    found: dict[str, dict[Unit, float]] = {}
    for (variant, seed, draw), gap in rows.groupby(["variant", "seed", "draw"])["value"].mean().items():
        found.setdefault(str(variant), {})[int(seed), int(draw)] = gap
    return found


def _method(
    cells: Cells, of: Headline, variant: str, table: pandas.DataFrame, gaps: Mapping[Unit, float], noise: float
) -> Line:
    line = _line(cells, of, variant, "unlearned", variant)
    gap = Cell(*interval(list(gaps.values()), gaps, (0.0, bounds(f"gap_{of.ranked_by}")[1]))[:3])
    cost, compute = (
        Cell(*interval([math.nan if one is None else float(one) for one in table[name]], ends=(0.0, math.inf))[:3])
        for name in ("cost_ratio", "compute_ratio")
    )
    return replace(
        line,
        gap=gap,
        cost=cost,
        compute=compute,
        weights_changed="yes" if bool(table["weights_changed"].astype(bool).all()) else "no",
        seeds=table["seed"].nunique(),
        counts=cell(zip(table["seed"], table["draw"], strict=True)),
        within_noise=gap.mean <= noise,
        seconds=None if of.compared else _seconds(table),
    )


def _line(known: Cells, of: Headline, variant: str, role: str, name: str) -> Line:
    def cells(columns: Sequence[Column]) -> tuple[Cell, ...]:
        return tuple(
            Cell()
            if column.methods and role != "unlearned"
            else _cell(known, variant, role, column.metric, column.split)
            for column in columns
        )

    rates = {split: _cell(known, variant, role, of.plotted, split) for split in SPLITS}
    chosen = [known[at] for split in SPLITS if (at := (variant, role, of.ranked_by, split)) in known]
    seeds = max((seeds for _, seeds, _ in chosen), default=0)
    draws = max((draws for _, _, draws in chosen), default=0)
    counts = f"{seeds or ''}" + (f" × {draws} draws" if draws > 1 else "")
    seconds = None if of.compared else ""
    return Line(name, role, rates, cells(of.before), after=cells(of.after), seeds=seeds, seconds=seconds, counts=counts)


def _cells(mine: pandas.DataFrame) -> Cells:
    """Return a board's part of the summary as cells, by variant, role, metric and split."""
    columns = ("variant", "role", "metric", "split", "mean", "ci_low", "ci_high", "seeds", "draws")
    found = zip(*(mine[name] for name in columns), strict=True)
    return {
        (variant, role, metric, split): (Cell(float(mean), float(low), float(high)), int(seeds), int(draws))
        for variant, role, metric, split, mean, low, high, seeds, draws in found
    }


def _cell(cells: Cells, variant: str, role: str, metric: str, split: str) -> Cell:
    return cells.get((variant, role, metric, split), (Cell(), 0, 0))[0]


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _without_empty(
    header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return a table without the columns in which no row has anything."""
    kept = [place for place in range(len(header)) if place == 0 or any(row[place] for row in rows)]
    return tuple(header[place] for place in kept), tuple(tuple(row[place] for place in kept) for row in rows)
