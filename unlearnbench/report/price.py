"""What methods cost, in three measures beside each other: wall-clock seconds, processor or GPU seconds, examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unlearnbench.report.summary import interval

if TYPE_CHECKING:
    import pandas

COLUMNS = {"cost_ratio": "seconds", "compute_ratio": "CPU or GPU seconds", "examples_ratio": "examples"}
TITLE = "cost beside retraining"
READING = (
    "Each is the method's share of what retraining takes, without validation. Seconds depend on what else the machine "
    "did. CPU seconds do not with one thread; several threads spin while they wait for each other, which counts. "
    "Examples do not depend on the machine at all, but take no account of what a method does with each: "
    "for the same examples, one that also asks the original takes longer. Empty: not known."
)


def price(table: pandas.DataFrame) -> tuple[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...], str], ...]:
    """Return a board's table of costs, as its title, header, lines and note; none where only the seconds are known."""
    known = [column for column in ("compute_ratio", "examples_ratio") if table[column].astype(float).notna().any()]
    if not known or not table["cost_ratio"].astype(float).notna().any():
        return ()
    lines = [
        (str(variant), *(_cell([float(value) for value in rows[column].astype(float)]) for column in COLUMNS))
        for variant, rows in table.groupby("variant", sort=True)
    ]
    return ((TITLE, ("method", *COLUMNS.values()), tuple(lines), READING),)


def _cell(values: list[float]) -> str:
    mean, _, high, _ = interval(values)
    if math.isnan(mean):
        return ""
    return f"{mean:.3f}" + ("" if math.isnan(high) else f" ± {high - mean:.3f}")
