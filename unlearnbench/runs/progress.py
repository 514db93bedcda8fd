"""How far a sweep is, and how long the rest should take: a line after each job, or a line a worker."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from unlearnbench.graph.cache import Cache
from unlearnbench.graph.stage import in_order
from unlearnbench.runners.claims import Claims
from unlearnbench.runs.left import Left, in_words, told
from unlearnbench.runs.sweep import Sweep

if TYPE_CHECKING:
    from unlearnbench.runs.job import RunJob

log = logging.getLogger("unlearnbench")

PLAIN_SECONDS = 10.0
"""How often a plain line is written at most."""


class Lines:
    """Writes a line after each job of a sweep that is done in this process."""

    def __init__(self, sweep: Sweep, cache: Cache) -> None:
        self.sweep = sweep
        self.numbers = {id(job): number for number, job in sweep.jobs.items()}
        stages = [stage for job in sweep.jobs.values() for stage in in_order(job.stages)]
        self.readers = Counter(stage.key for stage in stages)
        self.left = Left(stages, cache)
        log.info("%d of %d jobs to do%s", len(sweep.jobs), len(sweep.rows), told(self.left.seconds()))

    def ended(self, job: RunJob) -> None:
        """Note that a job has ended; what only it wanted, and did not get, is not waited for any more."""
        row = self.sweep.ended(self.numbers[id(job)])
        keys = [stage.key for stage in in_order(job.stages)]
        self.readers.subtract(keys)
        self.left.drop(key for key in keys if self.readers[key] <= 0)
        gone = sum(bool(one["status"]) for one in self.sweep.rows)
        names = ", ".join(str(row[name]) for name in ("method", "model", "dataset", "forget") if row[name])
        status = " ".join([row["status"], *row["reason"].splitlines()[:1]])
        rest = told(self.left.seconds())
        log.info("%d of %d jobs: %s, seed %s: %s%s", gone, len(self.sweep.rows), names, row["seed"], status, rest)


class Watch:
    """Shows the jobs of a sweep and the claims of its workers; `since` is a file written at its start.

    `left` knows how many seconds of computing are left, which the `workers` share.
    """

    def __init__(self, sweep: Sweep, claims: Claims, since: Path, left: Left, workers: int) -> None:
        self.sweep, self.claims, self.since, self.left, self.workers = sweep, claims, since, left, workers
        self.open = dict(sweep.jobs)
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
        seconds = self.left.seconds() if self.open else None
        return f"{done} of {len(self.sweep.jobs)} jobs done" + told(seconds and seconds / self.workers)

    def _table(self, done: int) -> Table:
        table = Table.grid(padding=(0, 2))
        for who in sorted(self.claims.holders().values(), key=lambda one: str(one.get("process"))):
            took = max(time.time() - float(who.get("since", time.time())), 0.0)
            table.add_row(f"{who.get('name')} {who.get('process')}", str(who.get("label")), in_words(took))
        table.add_row(self._line(done))
        return table
