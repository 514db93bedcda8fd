"""runner=local: worker processes on this machine, one for each GPU or each share of the cores."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnbench.ranges import Count


@dataclass(frozen=True, kw_only=True)
class Local:
    """Compute in `workers` processes at the same time."""

    workers: Count
