"""Published numbers to compare with measured ones, in a preset or a run.

They do not affect anything: they are in no stage key and no run's identity. A run's result.json keeps the entries about
its model, method and forget set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unlearnbench.errors import UserError, nearest
from unlearnbench.ranges import Number
from unlearnbench.request import margins, plugins
from unlearnbench.request.compose import Request


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One published number with its source, for one model, method and kind of forget set (class, random), or any.

    `value` null means that the source mentions the metric without a number; only the measured one is shown.
    """

    role: Literal["original", "retrained", "unlearned"]
    split: str
    metric: str
    value: Number | None
    source: str
    model: str | None = None
    method: str | None = None
    forget: str | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"value is {self.value}; expected a finite number")
        if not self.source.strip():
            raise ValueError("source is empty; expected a table, figure or notebook, such as 'Table IV'")


def check(entries: Sequence[Reported]) -> None:
    """Raise UserError for an unknown metric, or a split on which the metric is never measured."""
    if not entries:
        return
    from unlearnbench.metrics import catalogue

    splits = {metric.name: metric.splits for metric in catalogue(plugins.modules())}
    for number, entry in enumerate(entries):
        if entry.metric not in splits:
            raise UserError(
                f"reported[{number}].metric={entry.metric}: unknown metric.{nearest(entry.metric, splits)}\n"
                "Try: `unlearnbench list metrics`"
            )
        known = splits[entry.metric]
        if entry.split not in known:
            raise UserError(
                f"reported[{number}].split={entry.split}: {entry.metric} is not measured there."
                f"{nearest(entry.split, known)}\nIts splits are: {', '.join(known)}"
            )


def carried(request: Request) -> list[dict[str, Any]]:
    """Return the entries about a request's model, method and forget set, as composed.

    They must have been checked.
    """
    return [entry for entry in request.config["reported"] if _concerns(entry, request)]


def carries(result: Mapping[str, Any], request: Request) -> bool:
    """Return whether a run's result.json has the same entries, and margins, as the request."""
    return bool(result.get("reported", []) == carried(request) and result.get("margin", {}) == margins.carried(request))


def _concerns(entry: dict[str, Any], request: Request) -> bool:
    ours = {"model": request.model, "forget": request.name("forget")}
    if entry["role"] == "unlearned":
        ours["method"] = request.method
    return all(entry.get(name) in (None, value) for name, value in ours.items())
