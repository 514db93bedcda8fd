"""The runner that starts worker processes on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnbench.machine.threads import Threads
from unlearnbench.ranges import Count


@dataclass(frozen=True, kw_only=True)
class Local:
    """Settings of runner=local: how many processes, and with how many threads each.

    `threads: auto` divides the cores that this process may use among the workers.
    """

    workers: Count
    threads: Threads
