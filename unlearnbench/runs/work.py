"""Workers: a process that does a plan's stages, or a chunk of them, beside others that do the rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from unlearnbench.files import disk, leftovers
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.stage import Stage, in_order
from unlearnbench.graph.workshop import Workshop
from unlearnbench.runners.claims import Claims
from unlearnbench.runners.execute import Done, execute
from unlearnbench.runners.failures import Failures
from unlearnbench.runs.job import RunJob
from unlearnbench.runs.plan import Chunk, Plan
from unlearnbench.runs.sweep import Sweep
from unlearnbench.runs.sweep_folder import write_jobs

log = logging.getLogger("unlearnbench")


@dataclass(eq=False)
class Trainings:
    """Some stages as a job that has nothing to write."""

    key: str
    stages: Sequence[Stage]
    of: RunJob
    ended: bool = False

    def is_done(self) -> bool:
        """Return whether they are done."""
        return self.ended

    def device(self) -> str:
        """The device of the run that they are of."""
        return self.of.device()

    def computing(self) -> AbstractContextManager[None]:
        """Set the machine as the run that they are of asks for it."""
        return self.of.computing()

    def grow(self, workshop: Workshop, done: Done) -> bool:
        """Return False: these are all."""
        return False

    def finish(self, workshop: Workshop, done: Done) -> None:
        """Write nothing."""
        self.ended = True


def work(plan: Plan, folder: Path, number: int | None = None) -> int:
    """Do a chunk of a plan, or all of it; return how many of its jobs failed.

    `folder` is where the plan's workers note failures, so that nobody tries the same stage again and again.
    """
    chunk = plan.chunks[number] if number is not None else None
    sweep = Sweep(plan.words, plan.parameters, [Path(one) for one in plan.folders], only=chunk.jobs if chunk else None)
    outputs = Path(plan.outputs)
    leftovers.clear_outputs(outputs)
    with disk.watched(outputs):
        jobs = sweep.draw()
        cache = outputs / "cache"
        claims = Claims(cache / "claims", os.environ.get("SLURM_JOB_ID", ""))
        failures = Failures(folder / "failures")
        todo = list(_stages_of(jobs, chunk)) if chunk and chunk.keys else jobs
        execute(todo, Cache(cache), claims, failures)
    return sum(job.status in ("failed", "diverged") for job in jobs)


def report(plan: Plan, folder: Path) -> int:
    """Write the runs of which every stage is there, jobs.csv and the report; return how many jobs failed.

    Nothing is computed, so that the device of the jobs need not be here.
    """
    sweep = Sweep(plan.words, plan.parameters, [Path(one) for one in plan.folders], planning=True)
    cache = Cache(Path(plan.outputs) / "cache")
    with disk.watched(Path(plan.outputs)):
        ready = [job for job in sweep.draw() if all(cache.has(stage.key) for stage in job.stages)]
        execute(ready, cache, Claims(cache.folder / "claims"))
        sweep.collect(folder / ".began")
        write_jobs(folder, sweep.rows)
        sweep.write_report(folder)
    return sum(row["status"] in ("failed", "diverged") for row in sweep.rows)


def _stages_of(jobs: Sequence[RunJob], chunk: Chunk) -> Iterator[Trainings]:
    """Yield the stages of a chunk, each once, with a job that they are of."""
    wanted = set(chunk.keys)
    for job in jobs:
        for stage in in_order(job.stages):
            if stage.key in wanted:
                wanted.discard(stage.key)
                yield Trainings(f"{stage.key[:16]}-chunk", [stage], job)
