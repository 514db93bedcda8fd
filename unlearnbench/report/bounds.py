"""Where a number can be: an interval over seeds does not leave the range that its metric declares."""

from __future__ import annotations

import math

from unlearnbench.metrics import catalogue

Bounds = tuple[float, float]
NOWHERE: Bounds = (-math.inf, math.inf)
"""The bounds of a number about which nothing is declared."""


def all_bounds() -> dict[str, Bounds]:
    """Return the least and largest value of each metric, of its gap and of its noise floor."""
    found: dict[str, Bounds] = {}
    for metric in catalogue():
        width = metric.high - metric.low
        found |= {metric.name: (metric.low, metric.high), f"gap_{metric.name}": (-width, width)}
        found[f"floor_{metric.name}"] = (0.0, width)
    return found


def within(low: float, high: float, bounds: Bounds) -> Bounds:
    """Return the ends of an interval, cut off at the bounds; NaN stays NaN."""
    return low if math.isnan(low) else max(low, bounds[0]), high if math.isnan(high) else min(high, bounds[1])
