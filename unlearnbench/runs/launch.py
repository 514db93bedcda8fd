"""One run, from a composed request to a published folder; finished runs are found without importing torch."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.errors import Diverged, UserError
from unlearnbench.files import disk, leftovers, sums
from unlearnbench.request import plugins
from unlearnbench.request.compose import Composed, Request, compose, scaled
from unlearnbench.runs.finished import find, is_finished, remember, stage_sources

if TYPE_CHECKING:
    from unlearnbench.assemble import Assembled
    from unlearnbench.experiment import Run
    from unlearnbench.graph.outside import Looked
    from unlearnbench.results.folder import Identity

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


def single(request: Request) -> Path:
    """Do a run and return its folder; raise what made it fail, UserError where the method cannot run here."""
    outcome = execute(request, on_failure=_raise)
    if outcome.status == "skipped":
        raise UserError(f"method={request.name('method')} cannot run here: {outcome.reason}")
    return outcome.folder


def execute(request: Request, on_failure: Callable[[Exception], None] | None = None) -> Outcome:
    """Do a run, or find it done. Raises UserError for the user's mistakes; a failure becomes a folder with its status.

    Raises Stopped where the disk is full or closed: nothing is published that is not whole.

    `on_failure` is called with the exception of a failed or diverged run once its folder is written.
    """
    if not request.in_sweep:  # a sweep clears once, before its jobs
        leftovers.clear_outputs(request.outputs)
    with disk.watched(request.outputs):
        return _execute(request, on_failure)


def _execute(request: Request, on_failure: Callable[[Exception], None] | None) -> Outcome:
    known = find(request)
    if known is not None:
        return _outcome(known, reused=True)
    with torch_explained():
        from unlearnbench.assemble import assemble
        from unlearnbench.graph.outside import look
        from unlearnbench.results.folder import identify, refresh

        assembled = assemble(request)
    outside = look(assembled.experiment)
    identity = identify(request, assembled, stage_sources(request))
    final = request.outputs / "runs" / identity.folder
    if is_finished(final, request):
        refresh(final, request)
        remember(request, final, outside)
        return _outcome(final, reused=True)
    if final.exists() and (damage := sums.damage(final)):
        log.warning("%s is damaged, and made again from the cache: %s", final, sums.told(damage))
    return _run(request, assembled, identity, final, outside, on_failure)


def check(composed: Composed) -> None:
    """Build and check everything a request names, unless its run is there already; write nothing."""
    if find(composed.request) is None:
        with torch_explained():
            from unlearnbench.assemble import assemble

            assemble(composed.request)


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


def _run(
    request: Request,
    assembled: Assembled,
    identity: Identity,
    final: Path,
    outside: Looked,
    on_failure: Callable[[Exception], None] | None,
) -> Outcome:
    """Do the run in a temporary folder and publish it under its name, whatever became of it."""
    from unlearnbench.machine.determinism import computing
    from unlearnbench.machine.threads import using
    from unlearnbench.results import folder as results
    from unlearnbench.stages.stages import Skipped

    experiment = assembled.experiment
    part = results.new_folder(request.outputs)
    problem: Exception | None = None
    facts = {**results.facts(request, identity), **results.settings(assembled)}
    try:
        results.write_config(part, request)
        with _logged(part / "run.log"):
            log.info("%s: seed %d, forgetting %s", identity.folder, identity.seed, identity.forget)
            try:
                fixed = computing(experiment.precision.device, deterministic=experiment.deterministic)
                with using(assembled.settings.threads), fixed:
                    finding = {"status": "done", "reason": "", **_evaluate(part, request, assembled, identity)}
            except (Skipped, Diverged) as known:
                problem, status = known, "skipped" if isinstance(known, Skipped) else "diverged"
                finding = {"status": status, "reason": str(known)}
                log.debug("%s: %s", status, known)  # the terminal is told when the run is shown
            except UserError:
                raise
            except Exception as failure:
                if disk.why(failure, request.outputs):
                    raise
                problem = failure
                finding = {"status": "failed", "reason": f"{type(failure).__name__}: {failure}"}
                log.error("failed: %s\n%s", failure, traceback.format_exc())
        results.write_result(part, {**facts, **finding})
        sums.write(part)
        results.publish(part, final)
    except BaseException:
        results.discard(part)
        raise
    if problem is None or isinstance(problem, Skipped):
        remember(request, final, outside)
    elif on_failure is not None:
        on_failure(problem)
    return _outcome(final, reused=False)


def _evaluate(part: Path, request: Request, assembled: Assembled, identity: Identity) -> dict[str, object]:
    """Run the experiment, write everything but result.json, and return what that adds."""
    from unlearnbench.experiment import run
    from unlearnbench.graph.cache import Cache
    from unlearnbench.metrics import catalogue
    from unlearnbench.metrics.measure import measure
    from unlearnbench.plots import run as plots
    from unlearnbench.results import folder as results

    experiment = assembled.experiment
    done = run(experiment, Cache(request.outputs / "cache", experiment.precision.device))
    original, retrained, unlearned = done.scores["original"][0], done.scores["retrained"], done.scores["unlearned"][0]
    rows = measure(
        original,
        retrained,
        unlearned,
        done.scores["incompetent"],
        whole_class=experiment.forget.whole_class,
        seed=experiment.seed,
        metrics=catalogue(plugins.modules()),
    )
    results.write_metrics(part, identity, rows)
    results.write_scores(part, done)
    keep, final = assembled.settings.save_model, request.outputs / "runs" / identity.folder
    if keep or (keep is None and (not request.in_sweep or (final / "model").is_dir())):
        results.write_model(part, request, done, final)
    outcome = results.outcome(assembled, done)
    if done.info.kind == "text":
        outcome |= _language(part, done, identity)
    curves = {name: list(curve) for name, curve in outcome["curves"].items() if curve}
    plots.draw(part, original, retrained, unlearned, done.info.classes, curves)
    plots.strength(part, outcome["tables"])
    return outcome


def _language(part: Path, done: Run, identity: Identity) -> dict[str, object]:
    """Write the transcripts of a run on text; say whether its premise holds, and how many twins were left in retain."""
    from typing import Any, cast

    from unlearnbench.forget.splits import twins_retained
    from unlearnbench.metrics.premise import premise
    from unlearnbench.results import transcripts

    roles = {role: done.scores[role][0] for role in transcripts.ROLES}
    transcripts.write(part, cast(Any, done.data), roles)
    biased = done.data.columns.get("is_biased")
    rule_stays = biased is not None and bool(biased[done.splits.retain].any())
    found = premise(roles["original"], roles["retrained"], identity.forget, rule_stays=rule_stays)
    if found is not None:
        log.debug("premise: %s", found["text"])
    return {
        "premise": found,
        "sequences_cut": cast(Any, done.stages.task).encoder.cut,
        "twins_retained": twins_retained(done.splits, done.data),
    }


def _outcome(folder: Path, *, reused: bool) -> Outcome:
    from unlearnbench.results.folder import read_result

    result = read_result(folder)
    return Outcome(result["status"], result["reason"], folder, reused)


class _RunLog(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Raise what went wrong, where logging would print a traceback and go on: the disk is full."""
        raise


@contextmanager
def _logged(file: Path) -> Iterator[None]:
    """Write the log of the block to a file too."""
    handler = _RunLog(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    log.addHandler(handler)
    if log.level == logging.NOTSET:
        log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def _raise(error: Exception) -> None:
    raise error
