"""Do stages in order, each once, in this process; others may do some of them at the same time."""

from __future__ import annotations

import importlib
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from unlearnbench.errors import Diverged, Stopped, UserError
from unlearnbench.files import disk
from unlearnbench.graph.artefact import Computed, Damaged
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine import cost
from unlearnbench.machine.memory import peak_mib, reset_peak
from unlearnbench.machine.meter import Meter
from unlearnbench.runners.claims import Claims
from unlearnbench.runners.failures import Failures

log = logging.getLogger("unlearnbench")

WAIT_SECONDS = 0.2
"""How long to wait before looking again where all that is left is being computed by others."""


class Job(Protocol):
    """What is done once its stages are: a run's folder."""

    @property
    def key(self) -> str:
        """What it is known by to other processes."""

    @property
    def stages(self) -> Sequence[Stage]:
        """The stages whose results it reads."""

    def is_done(self) -> bool:
        """Return whether it is done already, here or by another process."""

    def device(self) -> str:
        """The device that its stages compute on."""

    def computing(self) -> AbstractContextManager[None]:
        """Set the machine as its stages want it: threads, device."""

    def grow(self, workshop: Workshop, done: Done) -> bool:
        """Lay out the stages that follow from the results of those so far; return False where these were all."""

    def finish(self, workshop: Workshop, done: Done) -> None:
        """Do it; `done` says which stages failed."""


J = TypeVar("J", bound=Job)


class Done:
    """What became of the stages that this process looked at."""

    def __init__(self) -> None:
        self.computed: set[str] = set()
        self.failed: dict[str, Exception] = {}
        self.lines: dict[str, list[str]] = {}
        self._told: set[str] = set()

    def is_new(self, key: str) -> bool:
        """Return whether a stage was computed here, and no job has been told so yet: for the others it was there."""
        new = key in self.computed and key not in self._told
        self._told.add(key)
        return new

    def error(self, stages: Iterable[Stage]) -> Exception | None:
        """Return why one of these stages is not there, or None."""
        return next((self.failed[stage.key] for stage in stages if stage.key in self.failed), None)


def execute(
    jobs: Sequence[J],
    cache: Cache,
    claims: Claims,
    failures: Failures | None = None,
    ended: Callable[[J], None] | None = None,
) -> Done:
    """Do all stages of the jobs that are missing, and finish each job once its own are done.

    A stage that another process has claimed is passed over and looked at again; one that is among the `failures` of
    the same plan is not tried. A stage's failure is kept in what is returned, and fails what needs the stage. `ended`
    is called with each job once it is finished. Raises Stopped where the disk is full.
    """
    work = _Work(jobs, cache, claims, failures, ended)
    while work.left or work.open:
        if not work.look():
            time.sleep(WAIT_SECONDS)
    return work.done


class _Work:
    def __init__(
        self,
        jobs: Sequence[Job],
        cache: Cache,
        claims: Claims,
        failures: Failures | None,
        ended: Callable[[Any], None] | None,
    ) -> None:
        self.cache, self.claims, self.failures, self.ended = cache, claims, failures, ended
        self.workshop, self.done = Workshop(cache), Done()
        self.left: dict[str, tuple[Stage, Job]] = {}
        self.readers: Counter[str] = Counter()
        self.waiting: dict[str, list[tuple[Job, set[str]]]] = {}
        self.ready: list[Job] = []
        self.open = len(jobs)
        for job in _grouped(jobs):
            self._add(job)

    def look(self) -> bool:
        """Look at what is left, in order, until a stage is computed; return whether anything was done.

        A stage takes a while, and others may meanwhile have done what the jobs before it wait for: those come first.
        """
        progress = self._finish()
        for key in list(self.left):
            known = len(self.done.computed)
            if key in self.left and self._try(*self.left[key]):
                progress = True
                self._finish()
            if len(self.done.computed) > known:
                break
        return progress

    def _add(self, job: Job) -> None:
        """Put the stages that a job lacks on the list; a job that lacks none is ready."""
        missing = {stage.key for stage in job.stages if self._put(stage, job)}
        for key in missing:
            self.waiting.setdefault(key, []).append((job, missing))
        if not missing:
            self.ready.append(job)

    def _put(self, stage: Stage, job: Job) -> bool:
        """Put a stage on the list, after what it needs; return False where it is there already."""
        if stage.key in self.left:
            return True
        if self.cache.read(stage.key) is not None:
            return False
        for one in stage.inputs:
            self._put(one, job)
        self.left[stage.key] = (stage, job)
        self.readers.update(model.key for model in stage.models)
        return True

    def _try(self, stage: Stage, job: Job) -> bool:
        """Do a stage, or see it done by another process; return False where it has to wait."""
        error = self.done.error(stage.inputs) or (self.failures.of(stage.key) if self.failures else None)
        if error is not None:
            self.done.failed[stage.key] = error
        elif any(one.key in self.left for one in stage.inputs):
            return False
        elif self.cache.read(stage.key) is None:
            with self.claims.held(stage.key, stage.label) as mine:
                if not mine:
                    return False
                if self.cache.read(stage.key) is None:
                    self._compute(stage, job)
        self._drop(stage)
        return True

    def _drop(self, stage: Stage) -> None:
        """Take a stage off the list, and let go of the models that nobody needs any more."""
        del self.left[stage.key]
        for job, missing in self.waiting.pop(stage.key, ()):
            missing.discard(stage.key)
            if not missing:
                self.ready.append(job)
        self.readers.subtract(model.key for model in stage.models)
        self.readers += Counter()  # only what is above 0 stays
        self.workshop.keep(self.readers)

    def _compute(self, stage: Stage, job: Job) -> None:
        lines = self.done.lines.setdefault(stage.key, [])
        try:
            with _heard(lines.append), job.computing():
                computed(stage, self.workshop, job.device())
            self.done.computed.add(stage.key)
        except Damaged as damage:
            self.cache.set_aside(damage)
            self._compute_after(stage, job)
        except Stopped:
            raise
        except Exception as error:
            if disk.why(error, self.cache.folder.parent):
                raise
            self.done.failed[stage.key] = error
            if self.failures:
                self.failures.note(stage.key, stage.label, error)
            if not isinstance(error, (UserError, Diverged)):
                with _heard(lines.append):
                    log.error("%s failed: %s\n%s", stage.label, error, traceback.format_exc())

    def _compute_after(self, stage: Stage, job: Job) -> None:
        """Compute a stage again once a damaged one that it needs is back."""
        for one in stage.inputs:
            if self.cache.read(one.key) is None:
                self._compute_after(one, job)
        self._compute(stage, job)

    def _finish(self) -> bool:
        """Finish the jobs that have no stage left; return whether there were any."""
        ready, self.ready = self.ready, []
        ended = [job for job in ready if self._end(job)]
        self.open -= len(ended)
        if self.ended is not None:
            for job in ended:
                self.ended(job)
        return bool(ended)

    def _end(self, job: Job) -> bool:
        """Finish a job, or see it finished by another process; return False, and look again, where it has to wait."""
        if job.is_done():
            return True
        with self.claims.held(job.key, "writing a run") as mine:
            if not mine:
                self.ready.append(job)
                return False
            if not job.is_done():
                try:
                    if job.grow(self.workshop, self.done):
                        self._add(job)
                        return False
                    job.finish(self.workshop, self.done)
                except Damaged as damage:
                    self.cache.set_aside(damage)
                    self._add(job)
                    return False
        return True


def computed(stage: Stage, workshop: Workshop, device: str) -> None:
    """Compute a stage and publish it, with what it used: seconds of all kinds, and peak memory."""
    importlib.import_module("torch._dynamo")  # torch imports it at a first optimiser step: no stage's seconds hold it
    reset_peak(device)
    meter = Meter(device)
    try:
        found = stage.compute(workshop)
    except Diverged as error:
        raise Diverged(error.step, error.role or stage.label) from error
    facts: Mapping[str, object] = {
        **cost.in_all(meter.spent(), found.facts.get("earlier_seconds", 0.0)),
        "peak_mib": max(peak_mib(device), found.facts.get("earlier_peak_mib", 0.0)),
        "kind": stage.kind,
        "stage": stage.label,
        "like": stage.like,
        **found.facts,
        "key": stage.key,
    }
    workshop.cache.publish(stage.key, Computed(found.tensors, facts))


def _grouped(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs with those of one original side by side, in the order of each group's first one."""
    first: dict[str, int] = {}
    place = {}
    for number, job in enumerate(jobs):
        root = next((stage.key for stage in job.stages if not stage.inputs), "")
        place[id(job)] = (first.setdefault(root, number), number)
    return sorted(jobs, key=lambda job: place[id(job)])


class _Lines(logging.Handler):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self.note = note
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Note the line."""
        self.note(self.format(record))


@contextmanager
def _heard(note: Callable[[str], None]) -> Iterator[None]:
    """Hand on each line that is logged in the block."""
    handler = _Lines(note)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
