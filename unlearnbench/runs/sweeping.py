"""A sweep from its first job to its report: its runner does the jobs, each stage once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench import signals
from unlearnbench.errors import DONE, FAILED
from unlearnbench.files import disk, leftovers
from unlearnbench.request.compose import Composed
from unlearnbench.request.config import build
from unlearnbench.request.places import writable
from unlearnbench.runs import sweep_folder
from unlearnbench.runs.launch import torch_explained
from unlearnbench.runs.sweep import NEVER, Sweep

if TYPE_CHECKING:
    from unlearnbench.graph.cache import Cache
    from unlearnbench.runners.claims import Claims
    from unlearnbench.runners.levels import Level
    from unlearnbench.runners.runner import Runner
    from unlearnbench.runs.job import RunJob
    from unlearnbench.runs.progress import Lines

log = logging.getLogger("unlearnbench")


def launch(sweep: Sweep, first: Composed) -> tuple[Path, int]:
    """Have the runner do all jobs, write jobs.csv and the report; return the sweep's folder and the exit code."""
    runner: Runner = build(first.request.config["runner"], "runner")
    outputs = first.request.outputs
    writable(first.sweep_dir, "hydra.sweep.dir=")
    leftovers.clear_outputs(outputs)
    with disk.watched(first.sweep_dir), sweep_folder.claimed(first.sweep_dir, first.dated) as folder:
        began = sweep_folder.begin(folder, [{**row, "reason": NEVER, "status": "failed"} for row in sweep.rows])
        work = SweepWork(sweep, folder, outputs, began)
        if runner.away:
            runner.do(work)
            return folder, DONE
        _do(work, runner)
        sweep.write_report(folder)
    return folder, FAILED if sweep.failed() else DONE


def _do(work: SweepWork, runner: Runner) -> None:
    """Do the jobs; whatever ends it, jobs.csv says what became of each."""
    sweep = work.sweep

    def interrupted() -> None:
        sweep.collect(work.began, f"{NEVER}: the sweep was interrupted")
        sweep_folder.write_jobs(work.folder, sweep.rows)

    signals.at_end(interrupted)
    try:
        if sweep.jobs:
            runner.do(work)
    finally:
        signals.no_longer(interrupted)
        sweep.collect(work.began)
        sweep_folder.write_jobs(work.folder, sweep.rows)


@dataclass(eq=False)
class SweepWork:
    """What a runner is given (runners/runner.py): a sweep, its folder, its outputs, and a file written at its start."""

    sweep: Sweep
    folder: Path
    outputs: Path
    began: Path
    lines: Lines | None = None

    @property
    def file(self) -> Path:
        """The plan."""
        return self.folder / "plan.jsonl"

    @cached_property
    def cache(self) -> Cache:
        """Where results are kept."""
        from unlearnbench.graph.cache import Cache

        return Cache(self.outputs / "cache")

    @cached_property
    def claims(self) -> Claims:
        """Which stages other processes are computing."""
        from unlearnbench.runners.claims import Claims

        return Claims(self.outputs / "cache" / "claims", os.environ.get("SLURM_JOB_ID", ""))

    def jobs(self) -> Sequence[RunJob]:
        """Lay out the jobs, and write a first line."""
        with torch_explained():
            from unlearnbench.machine.threads import warn_if_busy
            from unlearnbench.runs.progress import Lines

        jobs = self.sweep.draw()
        if jobs:
            warn_if_busy(jobs[0].assembled.settings.threads)
        self.lines = Lines(self.sweep, self.cache)
        return jobs

    def ended(self, job: RunJob) -> None:
        """Write a line about a job that has ended."""
        assert self.lines is not None
        self.lines.ended(job)

    def command(self) -> list[str]:
        """Write the plan without its stages; return the command line of a worker that does all of it."""
        from unlearnbench.runs import plan, workers

        plan.of(self.sweep, self.outputs).write(self.file)
        return workers.worker(self.file, self.sweep.folders)

    @contextmanager
    def watched(self, workers: int) -> Iterator[Callable[[], None]]:
        """Lay out the plan's stages, and yield what shows how far the workers are, whenever it is called."""
        from unlearnbench.runs.left import Left
        from unlearnbench.runs.plan import with_stages
        from unlearnbench.runs.progress import Watch

        plan = with_stages(self.sweep, self.outputs)
        plan.write(self.file)
        with Watch(self.sweep, self.claims, self.file, Left(plan.entries, self.cache), workers) as watch:
            yield watch.look

    def levels(self, gpus: int) -> Sequence[Level]:
        """Write the plan; return it as levels of commands, each with so many GPUs where the jobs need any."""
        from unlearnbench.runs import plan, workers

        planned = plan.with_stages(self.sweep, self.outputs)
        planned.write(self.file)
        needed = gpus if workers.needs_gpu(self.sweep) else 0
        return workers.levels(planned, self.file, self.sweep.folders, needed)

    def same(self) -> Iterator[Path]:
        """Yield the folders beside this one with the plan of a sweep of the same words."""
        from unlearnbench.runs.plan import read

        for other in self.folder.parent.glob("*/plan.jsonl"):
            if other != self.file and read(other).words == tuple(self.sweep.words):
                yield other.parent
