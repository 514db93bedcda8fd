"""Show how far long work is: a bar on a terminal, one plain line elsewhere; NO_COLOR is honoured by rich."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

log = logging.getLogger("unlearnbench")


class Progress(Protocol):
    """Something that wants to know how far a stage is."""

    def update(self, done: int, total: int) -> None:
        """Say that `done` of `total` steps are done."""


class Quiet:
    """Shows nothing: for stages that end within a moment, and for tests."""

    def update(self, done: int, total: int) -> None:
        """Ignore the news."""


class _Bar:
    def __init__(self, bars: Bars, title: str) -> None:
        self.bars = bars
        self.task = bars.add_task(title, total=None)

    def update(self, done: int, total: int) -> None:
        self.bars.update(self.task, completed=done, total=total)


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """Show a bar while the block runs, on a terminal; log one line at its start elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        log.info("%s ...", title)
        yield Quiet()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        yield _Bar(bars, title)
