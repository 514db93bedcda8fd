"""Runs, from composed requests to published folders; finished ones are found without importing torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError
from unlearnbench.files import disk, leftovers, sums
from unlearnbench.request.compose import Request, compose, scaled
from unlearnbench.request.once import Once
from unlearnbench.runs import tracking
from unlearnbench.runs.finished import find, is_finished, remember

if TYPE_CHECKING:
    from unlearnbench.runs.job import RunJob

log = logging.getLogger("unlearnbench")


@dataclass(frozen=True)
class Outcome:
    """What became of a run: its status, the reason where it is not done, its folder, and whether it was there."""

    status: str
    reason: str
    folder: Path
    reused: bool


def prepare(overrides: Sequence[str], folders: Sequence[Path] = ()) -> Request:
    """Compose a single run; raise UserError where the overrides ask for a sweep."""
    composed = compose(scaled(overrides, folders), folders)
    if composed.sweep:
        raise UserError("this experiment is a sweep: run it from the shell, as `unlearnbench run ...`")
    return composed.request


def single(request: Request) -> Outcome:
    """Do a run and return its outcome; raise what made it fail, UserError where the method cannot run here."""
    outcome = execute(request, on_failure=_raise)
    if outcome.status == "skipped":
        raise UserError(f"method={request.name('method')} cannot run here: {outcome.reason}")
    return outcome


def execute(request: Request, on_failure: Callable[[Exception], None] | None = None) -> Outcome:
    """Do a run, or find it done. Raises UserError for the user's mistakes; a failure becomes a folder with its status.

    Raises Stopped where the disk is full or closed: nothing is published that is not whole.

    `on_failure` is called with the exception of a failed or diverged run once its folder is written.
    """
    leftovers.clear_outputs(request.outputs)
    with disk.watched(request.outputs):
        job = found(request)
        if isinstance(job, Outcome):
            return job
        from unlearnbench.graph.cache import Cache
        from unlearnbench.machine.threads import warn_if_busy
        from unlearnbench.runners.claims import Claims
        from unlearnbench.runners.execute import execute as do
        from unlearnbench.stages.benches import Benches

        job.raises = True
        warn_if_busy(job.assembled.settings.threads)
        log.info("%s: seed %d, forgetting %s", job.identity.folder, job.identity.seed, job.identity.forget)
        job.draw(Benches())
        cache = request.outputs / "cache"
        do([job], Cache(cache), Claims(cache / "claims"))
        if job.error is not None and on_failure is not None:
            on_failure(job.error)
        return outcome(job.final, reused=False)


def found(request: Request, *, planning: bool = False, once: Once | None = None) -> Outcome | RunJob:
    """Return the outcome of a run that is done, or the run as a job to do; raise UserError for mistakes.

    The jobs of a sweep share `once`.
    """
    _check_unkeyed(request)
    tracking.trackers(request)
    known = None if planning else find(request)
    if known is not None:
        return _found_again(request, known)
    with torch_explained():
        from unlearnbench.assemble import assemble
        from unlearnbench.files.outside import joined, look
        from unlearnbench.results.result import refresh
        from unlearnbench.runs.job import RunJob

        once = once or Once()
        assembled = assemble(request, planning=planning, once=once)
    outside = joined(once(look, part) for part in assembled.experiment.parts)
    job = RunJob(request, assembled, outside)
    if planning:
        return job
    if is_finished(job.final, request):
        refresh(job.final, request)
        remember(request, job.final, outside)
        return _found_again(request, job.final)
    if job.final.exists() and (damage := sums.damage(job.final)):
        log.warning("%s is damaged, and made again from the cache: %s", job.final, sums.told(damage))
    return job


def _found_again(request: Request, folder: Path) -> Outcome:
    """Return the outcome of a run that was there before, once its trackers know it."""
    known = outcome(folder, reused=True)
    if known.status == "done":
        tracking.send(request, folder)
    return known


def _check_unkeyed(request: Request) -> None:
    """Raise UserError for a setting that is in no run's key: a finished run would be shown whatever it says."""
    keep = request.config.get("save_model")
    if not isinstance(keep, bool | None):
        raise UserError(f"save_model={json.dumps(keep)}: expected true, false or null.\nTry: save_model=true")


def outcome(folder: Path, *, reused: bool) -> Outcome:
    """Read what became of a run."""
    from unlearnbench.results.result import read_result

    result = read_result(folder)
    return Outcome(result["status"], result["reason"], folder, reused)


@contextmanager
def torch_explained() -> Iterator[None]:
    """Explain an installation in which torch and torchvision do not fit together."""
    try:
        yield
    except (RuntimeError, ImportError, OSError) as error:
        if "torchvision" in str(error) or "libtorch" in str(error):
            raise UserError(
                f"torch and torchvision do not fit together ({str(error).splitlines()[0]}).\n"
                "A CPU-only torch cannot load the package index's torchvision, which is built for the CUDA torch (that "
                "one works on a CPU too).\nTry: pip install --force-reinstall torch torchvision, from the same index"
            ) from error
        raise


def _raise(error: Exception) -> None:
    raise error
