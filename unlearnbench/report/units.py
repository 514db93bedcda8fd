"""What a run is one of: a training seed, and a draw of the forget set. Boards join both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from unlearnbench.errors import counted
from unlearnbench.metrics.crossed import Unit
from unlearnbench.report.facts import Facts

POOLED = (
    "This board joins {draws} draws of the forget set (forget.seed). Runs of one seed share the original, and runs of "
    "one draw the forget rows, so intervals and tests count the fewer of both as independent. The noise floor is "
    "between retrained models of one draw."
)
ONE_SEED = (
    " There is one seed: intervals and tests are over the draws alone, and say nothing of other trainings. Try: "
    "seed=0,1,2."
)


def unit_of(facts: Facts) -> Unit:
    """Return a run's seed and draw."""
    return facts.seed, facts.draw


def undrawn(facts: Mapping[str, Facts]) -> dict[str, str]:
    """Return each run's forget set by run_id, without the draw where the runs have several draws of it."""
    place = {key: (one.experiment, one.dataset, _base(one), one.model) for key, one in facts.items()}
    draws: dict[Any, set[int]] = {}
    for key, one in facts.items():
        draws.setdefault(place[key], set()).add(one.draw)
    return {key: _base(one) if len(draws[place[key]]) > 1 else one.forget for key, one in facts.items()}


def _base(facts: Facts) -> str:
    return facts.forget.removesuffix(f"@{facts.draw}") if facts.draw else facts.forget


def named(unit: Unit, *, pooled: bool) -> str:
    """Return "seed 0", or on a board of several draws "seed 0, draw 1"."""
    return f"seed {unit[0]}" + (f", draw {unit[1]}" if pooled else "")


def capital(text: str) -> str:
    """Return text with a capital first letter, as a sentence begins."""
    return text[:1].upper() + text[1:]


def cell(units: Iterable[Unit]) -> str:
    """Return how many seeds there are, and draws if there are several: "3", "3 × 2 draws" or "3, 2 draws: 5 runs"."""
    known = set(units)
    seeds, draws = (len(set(side)) for side in zip(*known, strict=True)) if known else (0, 0)
    if draws < 2:
        return str(seeds or "")
    if len(known) == seeds * draws:
        return f"{seeds} × {draws} draws"
    return f"{seeds}, {draws} draws: {len(known)} runs"


def told(units: Iterable[Unit]) -> str:
    """Return "3 seeds", or "3 seeds and 2 draws"."""
    known = set(units)
    seeds, draws = (len(set(side)) for side in zip(*known, strict=True)) if known else (0, 0)
    return counted(seeds, "seed") + (f" and {draws} draws" if draws > 1 else "")


def pooled_note(units: Iterable[Unit]) -> str:
    """Return what a board of several draws must say; "" for one draw."""
    known = set(units)
    draws = len({draw for _, draw in known})
    if draws < 2:
        return ""
    return POOLED.format(draws=draws) + (ONE_SEED if len({seed for seed, _ in known}) == 1 else "")
