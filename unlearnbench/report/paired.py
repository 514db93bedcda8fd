"""Is the best method of a board nearer to retrained than the others, or luckier? Differences paired by seed.

Methods of one seed and draw share the original, the retrained models and the forget rows, so their mean gaps are
compared pair by pair. The best method is chosen by the same numbers: it looks better than it is. So p is corrected by
Holm's method for all pairs of methods, among which those with the best are, and not for these alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from unlearnbench.errors import counted
from unlearnbench.metrics.crossed import Unit
from unlearnbench.metrics.equivalence import ALPHA, Differences, holm
from unlearnbench.report.headline import SPLITS
from unlearnbench.report.units import cell
from unlearnbench.report.words import FEW, Said, some

FEWEST = 3
"""With fewer shared seeds (or draws) nothing is tested."""
COLUMNS = ("metric", "best", "variant", "difference", "ci_low", "ci_high", "seeds", "draws", "p", "p_holm", "pairs")
NOTE = (
    "Difference: a method's mean gap less that of {best}, over the seeds that both have, with its 95 % interval "
    "(Student t). p: two-sided paired t-test, corrected by Holm's method for all {pairs} of the board, since the best "
    "is chosen by these numbers. A p above .05 does not show that two methods are equally good."
)

Table = tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...], str]
"""Name, header, lines, and a note."""


class Pair(NamedTuple):
    """A method against the best: the difference over the units that both have, and p before and after correction."""

    name: str
    difference: Differences
    units: list[Unit]
    p: float
    p_holm: float


@dataclass(frozen=True)
class PairedDifferences:
    """What a board says of its best method: a sentence, a table, and the rows of paired.csv."""

    sentence: str = ""
    table: Table | None = None
    rows: tuple[dict[str, Any], ...] = ()


def gaps(said: Said, name: str) -> dict[Unit, float]:
    """Return a method's mean gap by seed and draw: the mean absolute difference to retrained over the splits."""
    found: dict[Unit, list[float]] = {}
    for run_id, unit in said.runs[name]:
        known = [said.values.get((run_id, "unlearned", split, f"gap_{said.metric}"), math.nan) for split in SPLITS]
        known = [abs(value) for value in known if not math.isnan(value)]
        if known:
            found.setdefault(unit, []).append(sum(known) / len(known))
    return {unit: sum(of) / len(of) for unit, of in found.items()}


def paired_differences(said: Said, names: Sequence[str]) -> PairedDifferences:
    """Compare the best of the methods, the first of `names`, with each other one."""
    by_name = {name: of for name in names if (of := gaps(said, name))}
    if len(by_name) < 2:
        return PairedDifferences()
    best = next(iter(by_name))
    shared = {name: sorted(of.keys() & by_name[best].keys()) for name, of in by_name.items() if name != best}
    few = [name for name, units in shared.items() if _fewest(units) < FEWEST]
    if len(few) == len(shared):
        most = max((_fewest(units) for units in shared.values()), default=0)
        return PairedDifferences(
            f"Whether {best} is nearer than the others by more than luck is not tested: that takes {FEWEST} seeds that "
            f"methods share, and here they share {most}."
        )
    pairs, family = _pairs(said, best, {name: of for name, of in by_name.items() if name not in few})
    return PairedDifferences(
        _sentence(best, pairs, few),
        _table(best, pairs, family, few),
        tuple(_row(said, best, one, family) for one in pairs),
    )


def _fewest(units: Sequence[Unit]) -> int:
    """Return how many seeds, or draws if those are more, the units have."""
    return max((len(set(side)) for side in zip(*units, strict=True)), default=0)


def _pairs(said: Said, best: str, by_name: Mapping[str, Mapping[Unit, float]]) -> tuple[list[Pair], int]:
    """Return the tests of each method against the best, corrected for all pairs, and how many pairs there are."""
    row = 1 / (len(SPLITS) * min(said.rows.values())) if said.is_rate and said.rows else 0.0
    every = list(itertools.combinations(by_name, 2))
    tests = []
    for first, second in every:
        units = sorted(by_name[first].keys() & by_name[second].keys())
        tests.append(
            (Differences.of([by_name[second][unit] - by_name[first][unit] for unit in units], row, units), units)
        )
    p = [of.apart() for of, _ in tests]
    adjusted = holm(p)
    found = [
        Pair(second, *tests[at], p[at], float(adjusted[at]))
        for at, (first, second) in enumerate(every)
        if first == best
    ]
    return found, len(every)


def _sentence(best: str, pairs: Sequence[Pair], few: Sequence[str]) -> str:
    """Return what the tests show of the best method."""
    shown = [one.name for one in pairs if one.p_holm <= ALPHA and one.difference.mean > 0]
    whole = len(pairs) + len(few)
    if len(shown) == whole:
        return f"{best} is shown to be nearer to retrained than every other method of the board."
    if not shown:
        return f"{best} has the smallest mean gap, but is not shown to be nearer to retrained than any other method."
    of = some(shown, [one.name for one in pairs]) if len(shown) <= FEW else f"{len(shown)} of the {whole} other methods"
    return f"{best} has the smallest mean gap; it is shown to be nearer to retrained than {of}, and than no other."


def _table(best: str, pairs: Sequence[Pair], family: int, few: Sequence[str]) -> Table:
    header = ("method", "difference", "95 % interval", "p", "seeds")
    lines = []
    for one in pairs:
        low, high = one.difference.interval(ALPHA)
        interval = f"{low:+.4f} to {high:+.4f}"
        lines.append((one.name, f"{one.difference.mean:+.4f}", interval, _p(one.p_holm), cell(one.units)))
    note = NOTE.format(best=best, pairs=counted(family, "pair"))
    left = f" Not tested, with fewer than {FEWEST} shared seeds: {', '.join(few)}." if few else ""
    return f"mean gap, compared with {best}", header, tuple(lines), note + left


def _p(p: float) -> str:
    return "< .001" if p < 0.001 else "1" if p >= 0.995 else f"{p:.3f}".removeprefix("0")


def _row(said: Said, best: str, one: Pair, family: int) -> dict[str, Any]:
    low, high = one.difference.interval(ALPHA)
    seeds, draws = (len(set(side)) for side in zip(*one.units, strict=True))
    values = (
        f"mean_gap_{said.metric}",
        best,
        one.name,
        one.difference.mean,
        low,
        high,
        seeds,
        draws,
        one.p,
        one.p_holm,
    )
    return dict(zip(COLUMNS, (*values, family), strict=True))
