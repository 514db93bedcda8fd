"""How far a sweep is: on a terminal a line a worker and the jobs done of all, elsewhere plain lines."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from unlearnbench.runners.claims import Claims
from unlearnbench.runs.sweep import Sweep

PLAIN_SECONDS = 10.0
"""How often a plain line is written at most."""


class Watch:
    """Shows the jobs of a sweep and the claims of its workers; `since` is a file written at its start."""

    def __init__(self, sweep: Sweep, claims: Claims, since: Path) -> None:
        self.sweep, self.claims, self.since = sweep, claims, since
        self.open = dict(sweep.jobs)
        self.started = time.monotonic()
        self.last: tuple[int, float] = (-1, 0.0)
        terminal = Console(file=sys.stderr)
        self.live = Live(console=terminal, transient=True, auto_refresh=False) if terminal.is_terminal else None

    def __enter__(self) -> Watch:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self.live:
            self.live.stop()

    def look(self) -> None:
        """Look again, and show what has changed."""
        ended = (job.is_done() or job.has_ended(self.since) for job in self.open.values())
        self.open = {number: job for (number, job), gone in zip(self.open.items(), ended, strict=True) if not gone}
        done = len(self.sweep.jobs) - len(self.open)
        if self.live:
            self.live.update(self._table(done), refresh=True)
            return
        now = time.monotonic()
        if done != self.last[0] and (now - self.last[1] > PLAIN_SECONDS or not self.open):
            print(self._line(done), file=sys.stderr, flush=True)
            self.last = (done, now)

    def _line(self, done: int) -> str:
        left = self._left(done)
        return f"{done} of {len(self.sweep.jobs)} jobs done" + (f", about {_told(left)} left" if left else "")

    def _left(self, done: int) -> float:
        """Return the seconds that are left if the other jobs take as long as those that are done; 0: nobody knows."""
        return (time.monotonic() - self.started) / done * len(self.open) if done else 0.0

    def _table(self, done: int) -> Table:
        table = Table.grid(padding=(0, 2))
        for who in sorted(self.claims.holders().values(), key=lambda one: str(one.get("process"))):
            took = max(time.time() - float(who.get("since", time.time())), 0.0)
            table.add_row(f"{who.get('name')} {who.get('process')}", str(who.get("label")), _told(took))
        table.add_row(self._line(done))
        return table


def _told(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
