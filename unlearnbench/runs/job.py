"""A run as a job: its picture is drawn first, its folder is written once its stages are done."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unlearnbench.assemble import Assembled
from unlearnbench.choosing import Choice, choices, chosen
from unlearnbench.errors import Diverged, UserError, counted
from unlearnbench.experiment import Forgetting, build
from unlearnbench.files import disk, publish, sums
from unlearnbench.files.escapes import printable
from unlearnbench.files.outside import Looked
from unlearnbench.forget.splits import remarks, twins_retained
from unlearnbench.graph.artefact import Damaged
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.order import each_behind_its_models
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine import determinism
from unlearnbench.machine.threads import using
from unlearnbench.models.start import base_note
from unlearnbench.request.compose import Request
from unlearnbench.results import folder, result
from unlearnbench.results.identity import Identity, identify
from unlearnbench.results.identity import settings as digests
from unlearnbench.runners.execute import Done
from unlearnbench.runners.failures import FailedElsewhere
from unlearnbench.runs import tracking
from unlearnbench.runs.finished import is_finished, remember, stage_sources
from unlearnbench.runs.written import write
from unlearnbench.stages.benches import Benches

log = logging.getLogger("unlearnbench")

TWINS = {
    "twins": "%d of %d forget rows have a counterfactual twin in the retain set: the retrained model has seen all but "
    "the group in them. Try: forget.whole_pairs=true",
    "copies": "%d of %d forget images have a copy with the same pixels in the retain set: the retrained model has seen "
    "them. Try: forget.whole_pairs=true, or forget the copies too",
}


@dataclass(eq=False)
class RunJob:
    """One run: what was asked for, where its folder goes, and the stages that it needs.

    `error` is what made it fail, `status` what became of it once it is finished. With `raises`, mistakes of the user
    and interruptions of its stages are raised and not written down. `choices` are what trained models choose of the
    forget set; until they have, the picture is `rehearsed` with other rows, and the stages are those of the choices.
    """

    request: Request
    assembled: Assembled
    outside: Looked
    raises: bool = False
    picture: tuple[Forgetting, ...] = ()
    choices: tuple[Choice, ...] = ()
    rehearsed: bool = False
    skipped: str | None = None
    error: Exception | None = None
    status: str = ""

    @cached_property
    def identity(self) -> Identity:
        """The run's key and names."""
        return identify(self.request, self.assembled, stage_sources(self.request))

    @property
    def final(self) -> Path:
        """The run's folder."""
        return self.request.outputs / "runs" / self.identity.folder

    @property
    def key(self) -> str:
        """The run's key, as a name for its claim."""
        return f"{self.identity.run_id}-run"

    def is_done(self) -> bool:
        """Return whether its folder is there, with all that is asked for."""
        return is_finished(self.final, self.request)

    def has_ended(self, since: Path) -> bool:
        """Return whether its folder was written after a file, whatever became of the run."""
        try:
            return (self.final / "result.json").stat().st_mtime >= since.stat().st_mtime
        except OSError:
            return False

    def draw(self, benches: Benches) -> None:
        """Load the data and lay out the stages; note where the method cannot run, or what fails.

        Where trained models choose the forget set, these are their stages alone until all of them are done.
        """
        with self._failing():
            self.choices = choices(self.assembled.experiment, benches)
            self._benches = benches
            workshop = Workshop(Cache(self.request.outputs / "cache"))
            try:
                first = all(workshop.cache.read(one.key) for choice in self.choices for one in choice.stages.values())
                self._lay_out(workshop if first else None)
            except Damaged as damage:
                workshop.cache.set_aside(damage)
                self._lay_out(None)

    def grow(self, workshop: Workshop, done: Done) -> bool:
        """Lay out the stages that follow from the chosen rows; return False where the stages so far were all."""
        if not self.rehearsed or self.skipped is not None or self.error or done.error(self.stages):
            return False
        try:
            with self._failing():
                self._lay_out(workshop)
        except UserError as error:  # `finish` writes it down, or raises it
            self.error = error
        return self.error is None

    def _lay_out(self, workshop: Workshop | None) -> None:
        """Lay out the graph for the rows that were chosen; without a workshop rehearse it with others, as many."""
        experiment = self.assembled.experiment
        if workshop is not None:
            experiment = chosen(experiment, self.choices, workshop)
        self.picture = build(experiment, self._benches.of(experiment))
        self.rehearsed = workshop is None
        self.__dict__.pop("stages", None)
        if not self.rehearsed:
            self._warn(self._benches.said)
        self.skipped = self.picture[-1].models.unlearned.why_not()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Note what fails in the block; raise the user's mistakes and a full disk."""
        try:
            yield
        except (UserError, Damaged):
            raise
        except Exception as error:
            if disk.why(error, self.request.outputs):
                raise
            self.error = error
            log.error("failed: %s\n%s", error, traceback.format_exc())

    def forget_stages(self) -> None:
        """Let go of what `draw` laid out."""
        self.picture, self.choices = (), ()
        self.__dict__.pop("stages", None)

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """The stages whose results the folder is made from: none where the method cannot run."""
        if self.skipped is not None or self.error is not None:
            return ()
        before = [stage for choice in self.choices for stage in choice.stages.values()]
        if self.rehearsed:
            return tuple({stage.key: stage for stage in before}.values())
        models = [model for asked in self.picture for _, model in asked.models.roles()]
        asked_for = [stage for asked in self.picture for stage in asked.stages()]
        ordered = each_behind_its_models([model for model in models if isinstance(model, Stage)], asked_for)
        return tuple({stage.key: stage for stage in (*before, *ordered)}.values())

    def device(self) -> str:
        """The device of the run."""
        return self.assembled.experiment.precision.device

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Set threads, device and determinism as the run asks for them."""
        experiment = self.assembled.experiment
        fixed = determinism.computing(experiment.precision.device, deterministic=experiment.deterministic)
        with using(self.assembled.settings.threads), fixed:
            yield

    def finish(self, workshop: Workshop, done: Done) -> None:
        """Write the run's folder and publish it, whatever became of its stages."""
        error = self.error or done.error(self.stages)
        if isinstance(error, UserError) and self.raises:
            raise error
        part = folder.new_folder(self.request.outputs)
        try:
            folder.write_config(part, self.request)
            with _logged(part / "run.log", self._lines(done)):
                finding = self._finding(part, workshop, done, error)
            facts = {**result.facts(self.request, self.identity), **digests(self.assembled)}
            facts["unlearn_seed"] = self.assembled.experiment.unlearn_seed
            facts["base_note"] = base_note(self.assembled.experiment.model)
            result.write_result(part, {**facts, **finding})
            sums.write(part)
            publish.instead(part, self.final)
        except BaseException:
            folder.discard(part)
            raise
        self.status = str(finding["status"])
        if self.status in ("done", "skipped"):
            remember(self.request, self.final, self.outside)
        if self.status == "done":
            tracking.send(self.request, self.final)

    def _finding(self, part: Path, workshop: Workshop, done: Done, error: Exception | None) -> dict[str, object]:
        """Return the part of result.json that says what became of the run; write what a finished one has beside it."""
        if self.skipped is not None:
            log.debug("skipped: %s", self.skipped)
            return {"status": "skipped", "reason": self.skipped}
        if error is None:
            try:
                with self.computing():
                    return {"status": "done", "reason": "", **write(self, part, workshop, done)}
            except (UserError, Damaged):
                raise
            except Exception as failure:
                if disk.why(failure, self.request.outputs):
                    raise
                log.error("failed: %s\n%s", failure, traceback.format_exc())
                error = failure
        self.error = error
        if isinstance(error, Diverged):
            log.debug("diverged: %s", error)
            return {"status": "diverged", "reason": str(error)}
        plain = isinstance(error, (UserError, FailedElsewhere))
        said = str(error) if plain else f"{type(error).__name__}: {error}"
        return {"status": "failed", "reason": said}

    def _lines(self, done: Done) -> list[str]:
        """Return what was logged while stages of this run were computed here."""
        before = [stage for choice in self.choices for stage in choice.stages.values()]
        stages = (*before, *(stage for asked in self.picture for stage in self._all(asked)))
        return [line for stage in stages for line in done.lines.get(stage.key, ())]

    def _all(self, asked: Forgetting) -> Iterator[Stage]:
        yield from (model for _, model in asked.models.roles() if isinstance(model, Stage))
        yield from asked.stages()

    def _warn(self, said: set[str]) -> None:
        """Say what lists of rows hold; warn of files left out, and of rows that were drawn without their twins.

        Where all rows of a value go, twins that stay are what was asked for; those of manipulated rows are sound rows.
        What is in `said` is not said again.
        """

        def say(text: str, level: int = logging.INFO) -> None:
            if text not in said:
                log.log(level, "%s", text)
                said.add(text)

        for line in remarks(self.assembled.experiment.forget, self.picture[0].world.bench.clean):
            say(line)
        for asked in self.picture:
            splits, data = asked.world.splits, asked.world.bench.data
            left = twins_retained(splits, data)
            if left and not self.assembled.experiment.forget.whole_class and splits.manipulated is None:
                say(TWINS[data.same] % (left, len(splits.forget)), logging.WARNING)
        left_out = getattr(self.picture[0].world.bench.data, "left_out", {})
        if left_out:
            some = ", ".join([*map(printable, list(left_out)[:10]), *(["..."] if len(left_out) > 10 else [])])
            files = counted(len(left_out), "file is not a sound image and is", "files are not sound images and are")
            say(f"{files} left out (left_out.csv): {some}", logging.WARNING)
        model: Any = self.assembled.experiment.model
        if model.checkpoint is not None:
            say(self.picture[0].world.seen_by_checkpoint()["text"])
            if self.assembled.experiment.references:
                say("retrained models follow train's recipe: gaps assume that your checkpoint was trained as well")
            if hasattr(model, "note") and (note := model.note()):
                say(note)


class _RunLog(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Raise what went wrong, where logging would print a traceback and go on: the disk is full."""
        raise


@contextmanager
def _logged(file: Path, before: Sequence[str]) -> Iterator[None]:
    """Write the lines so far, and the log of the block, to a file."""
    file.write_text("".join(f"{line}\n" for line in before), encoding="utf-8", errors="replace")
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
