"""What every runner offers, and what it is given to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from unlearnbench.graph.cache import Cache
    from unlearnbench.runners.claims import Claims
    from unlearnbench.runners.execute import Job
    from unlearnbench.runners.levels import Level


class Work(Protocol):
    """The jobs of a sweep, as a runner sees them.

    `folder` is the sweep's own, for logs and scripts; `cache` and `claims` are those of its outputs.
    """

    folder: Path

    @property
    def cache(self) -> Cache:
        """Where results are kept."""

    @property
    def claims(self) -> Claims:
        """Which stages other processes are computing."""

    def jobs(self) -> Sequence[Job]:
        """Lay out the jobs to be done in this process."""

    def ended(self, job: Any) -> None:
        """Note that one of them has ended, and show it."""

    def command(self) -> list[str]:
        """Write the plan without its stages; return the command line of a worker that does all of it."""

    def watched(self, workers: int) -> AbstractContextManager[Callable[[], None]]:
        """Lay out the plan's stages, and yield what shows how far the workers are, whenever it is called."""

    def levels(self, gpus: int) -> Sequence[Level]:
        """Write the plan; return it as levels of commands, each with so many GPUs where the jobs need any."""

    def same(self) -> Iterator[Path]:
        """Yield the folders of other sweeps of the same words."""


class Runner(Protocol):
    """The settings of a runner, and how it does the jobs of a sweep.

    `away` says that the jobs are done elsewhere, after `do` has returned, and that the last of them writes the report.
    `alone` says that a single run is done in this process, without a sweep around it and without `do`.
    """

    away: ClassVar[bool]
    alone: ClassVar[bool]

    def do(self, work: Work) -> None:
        """Do the jobs, or have them done."""
