"""Published numbers, to stand beside the measured ones: what a preset lists under `reported`, and what a run carries.

They decide nothing: no stage key and no run's identity knows them. A run's result.json holds those that speak of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unlearnbench.errors import UserError, nearest
from unlearnbench.ranges import Number
from unlearnbench.request import plugins
from unlearnbench.request.compose import Request


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One published number, and the table or notebook it stands in; without a model or method it speaks of any.

    `value` null says that the source speaks of the metric without a number: the measured one is shown alone.
    """

    role: Literal["original", "retrained", "unlearned"]
    split: str
    metric: str
    value: Number | None
    source: str
    model: str | None = None
    method: str | None = None

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"value is {self.value}, expected a finite number")
        if not self.source.strip():
            raise ValueError("source is empty, expected a table, figure or notebook, such as 'Table IV'")


def check(entries: Sequence[Reported]) -> None:
    """Raise UserError for a number of a metric that there is not, or on a split where its metric never stands."""
    if not entries:
        return
    from unlearnbench.metrics import catalogue

    splits = {metric.name: metric.splits for metric in catalogue(plugins.modules())}
    for number, entry in enumerate(entries):
        if entry.metric not in splits:
            raise UserError(
                f"reported[{number}].metric={entry.metric} is no metric.{nearest(entry.metric, splits)}\n"
                "Try: `unlearnbench list metrics`"
            )
        known = splits[entry.metric]
        if entry.split not in known:
            raise UserError(
                f"reported[{number}].split={entry.split} is no split of {entry.metric}.{nearest(entry.split, known)}\n"
                f"It has: {', '.join(known)}"
            )


def carried(request: Request) -> list[dict[str, Any]]:
    """Return the entries, as composed and once they are checked, that speak of a request's model and method."""
    return [entry for entry in request.config["reported"] if _concerns(entry, request)]


def carries(result: Mapping[str, Any], request: Request) -> bool:
    """Return whether a run's result.json holds the entries that the request has for it."""
    return bool(result.get("reported", []) == carried(request))


def _concerns(entry: dict[str, Any], request: Request) -> bool:
    ours = {"model": request.model}
    if entry["role"] == "unlearned":
        ours["method"] = request.name("method")
    return all(entry.get(name) in (None, value) for name, value in ours.items())
