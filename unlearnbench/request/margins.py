"""The margins of verdicts: by how much a metric may differ from retrained's before a reader would mind.

They change no number of a run and are in no key. A run's result.json keeps them for reports. A key is a unit of metrics
(rate, nats, bits, distance, score) or the name of one metric, which counts before its unit; gap_ before the name
changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from unlearnbench.errors import UserError, nearest
from unlearnbench.metrics import Unit
from unlearnbench.request import plugins
from unlearnbench.request.compose import Request

UNITS: tuple[str, ...] = get_args(Unit)


def check(margins: Mapping[str, float], further: Iterable[str]) -> None:
    """Raise UserError for a margin of what is neither a unit nor a metric; `further` are evaluations' own metrics."""
    names = [name for name in margins if name not in UNITS]
    if not names:
        return
    from unlearnbench.metrics import catalogue

    known = {metric.name for metric in catalogue(plugins.modules())}
    known |= {name for metric in further for name in (metric, metric.removeprefix("gap_"))}
    for name in names:
        if name not in known:
            raise UserError(
                f"margin.{name}: unknown metric or unit.{nearest(name, (*known, *UNITS))}\n"
                f"The units are: {', '.join(UNITS)}. The metrics: `unlearnbench list metrics`"
            )


def carried(request: Request) -> dict[str, float]:
    """Return a request's margins, as composed."""
    return dict(request.config.get("margin") or {})


def typed(words: Sequence[str]) -> dict[str, float]:
    """Return the margins of words such as accuracy=0.01; raise UserError for what is no such word."""
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not name or not 0 < found[name] < math.inf:
            raise UserError(f"--margin {word}: expected NAME=NUMBER above 0.\nTry: --margin accuracy=0.01")
    return found


def refuse_unknown(margins: Mapping[str, float], metrics: Iterable[Any]) -> None:
    """Raise UserError for a margin of what no run of a report has measured."""
    known = {str(metric) for metric in metrics}
    for name in margins:
        if name not in UNITS and name not in known:
            raise UserError(
                f"--margin {name}: these runs have no such metric.{nearest(name, (*known, *UNITS))}\n"
                f"Try: a metric of their metrics.csv, or a unit: {', '.join(UNITS)}"
            )
