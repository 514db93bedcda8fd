"""What a board says of its runs below the table: their rows, weights and versions, and what to know first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearnbench.metrics.crossed import Unit
from unlearnbench.report.collect import Runs
from unlearnbench.report.units import capital, named, pooled_note, unit_of

if TYPE_CHECKING:
    import pandas

NAMED = 6
"""The most runs that a note names one by one."""
VERSIONS = ("unlearnbench", "torch")
"""What can change numbers from one version to the next."""


def base_note(table: pandas.DataFrame) -> str:
    """Return whose weights may have seen the forget rows before training; "" if that is known."""
    return " ".join(sorted({str(note) for note in table["base_note"] if note}))


def checkpoints(runs: Runs, table: pandas.DataFrame) -> str:
    """Return which rows the runs' own originals are taken to have seen; "" if they were trained here."""
    facts = (runs.facts[str(run_id)].checkpoint for run_id in table["run_id"])
    sentences = (sentence for one in facts if one is not None for sentence in one.text.split(". "))
    return " ".join(f"{sentence}." for sentence in dict.fromkeys(sentences))


def rows_text(runs: Runs, table: pandas.DataFrame) -> str:
    """Return how many rows each split has; "" for runs that do not say."""
    counts: dict[str, set[int]] = {}
    for run_id in table["run_id"]:
        for split, count in runs.facts[str(run_id)].rows.items():
            counts.setdefault(split, set()).add(count)
    known = (f"{split} {' or '.join(f'{one:,}' for one in sorted(found))}" for split, found in counts.items())
    return f"Rows: {', '.join(known)}." if counts else ""


def remarks(runs: Runs, table: pandas.DataFrame) -> tuple[str, ...]:
    """Return the remarks of a board's runs, each once, after the seeds that it is about unless it is about all.

    First what joining them means: several draws of the forget set, several versions, several runs of one kind.
    """
    units: dict[str, set[Unit]] = {}
    every = set()
    for run_id in table["run_id"]:
        facts = runs.facts[str(run_id)]
        every.add(unit_of(facts))
        for remark in facts.remarks:
            units.setdefault(remark, set()).add(unit_of(facts))
    pooled = len({draw for _, draw in every}) > 1
    own = (f"{remark}." if found == every else f"{_which(found, pooled)}: {remark}." for remark, found in units.items())
    joined = (pooled_note(every), _versions(runs, table), _repeated(table))
    return (*(note for note in joined if note), *own)


def _which(units: set[Unit], pooled: bool) -> str:
    """Return which seeds, or seeds and draws, a remark is about."""
    if pooled:
        return "; ".join(capital(named(unit, pooled=True)) for unit in sorted(units))
    return f"Seed {', '.join(str(seed) for seed, _ in sorted(units))}"


def _versions(runs: Runs, table: pandas.DataFrame) -> str:
    """Return that the runs of a board are of several versions; "" where they are of one."""
    found = []
    for package in VERSIONS:
        known = {runs.facts[str(run_id)].versions.get(package) for run_id in table["run_id"]}
        if len(known) > 1:
            found.append(f"{package} {', '.join(sorted(one or 'of no known version' for one in known))}")
    return f"Runs of different versions are joined here: {'; '.join(found)}." if found else ""


def _repeated(table: pandas.DataFrame) -> str:
    """Return which methods have several runs of one seed and draw, such as before and after a change of the code."""
    counts = table.groupby(["variant", "seed", "draw"]).size()
    names = sorted({str(variant) for variant, _, _ in counts[counts > 1].index})
    if not names:
        return ""
    shown = ", ".join(names) if len(names) <= NAMED else f"{len(names)} methods"
    return f"{shown}: several runs of one seed, which count as one by their mean (runs.csv names them)."


def cost_text(table: pandas.DataFrame) -> str:
    """Return which runs of a board have no cost ratio, and how the others were measured differently."""
    parts = []
    left_out = table[table["cost_ratio"].isna()]
    if len(left_out):
        notes: dict[str, Any] = {}
        for variant, seed, note in left_out[["variant", "seed", "cost_note"]].itertuples(index=False):
            notes.setdefault(note, []).append(f"{variant}, seed {seed}")
        parts.append("Cost ratios left out: " + " ".join(f"{_some(runs)}: {note}." for note, runs in notes.items()))
    known = table[table["cost_ratio"].notna()]
    rough = known[known["cost_note"].astype(bool)]
    if len(rough):
        named_runs = [f"{variant}, seed {seed}" for variant, seed in rough[["variant", "seed"]].itertuples(index=False)]
        parts.append(f"Rough cost ratios, because the machine had other work: {_some(named_runs)}.")
    for name in ("device", "threads", "precision"):
        values = sorted({str(value) for value in known[name]})
        if len(values) > 1:
            parts.append(f"The cost ratios of this board have different settings: {name} {', '.join(values)}.")
    return " ".join(parts)


def _some(runs: list[str]) -> str:
    """Return runs by name, or their number where there are many."""
    names = sorted(set(runs))
    return "; ".join(names) if len(names) <= NAMED else f"{len(runs)} runs (cost_note in runs.csv)"
