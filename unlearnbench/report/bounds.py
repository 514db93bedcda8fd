"""Where a metric's numbers end: an interval beyond that would name values that cannot be."""

from __future__ import annotations

import math
from functools import cache

from unlearnbench.metrics import catalogue

Bounds = tuple[float, float]
APART = ("gap_held_out_", "gap_", "change_")
"""What is before the name of a difference of two of a metric's values."""


@cache
def bounds(metric: str) -> Bounds:
    """Return the least and the largest value of a metric, or of a number derived from one; infinite if unknown."""
    known = _declared()
    if metric in known:
        return known[metric]
    for prefix, ends in (*((one, (-1.0, 1.0)) for one in APART), ("floor_", (0.0, 1.0))):
        name = metric.removeprefix(prefix)
        if name != metric and name in known:
            low, high = known[name]
            return ends[0] * (high - low) if ends[0] else 0.0, high - low
    return (0.0, 1.0) if metric.startswith("p_") and metric[2:] in known else (-math.inf, math.inf)


def within(low: float, high: float, ends: Bounds) -> Bounds:
    """Cut an interval at the ends of its metric. It holds the truth as often as before: the truth is within them."""
    return max(low, ends[0]), min(high, ends[1])


@cache
def _declared() -> dict[str, Bounds]:
    return {one.name: (one.low, one.high) for one in catalogue()}
