"""A run as a job: its picture is drawn first, its folder is written once its stages are done."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from unlearnbench.assemble import Assembled
from unlearnbench.errors import Diverged, UserError
from unlearnbench.evaluations.evaluation import Found, divided
from unlearnbench.evidence import BySplit
from unlearnbench.experiment import Forgetting, build
from unlearnbench.files import disk, sums
from unlearnbench.forget.splits import twins_retained
from unlearnbench.graph.artefact import Damaged, Stored
from unlearnbench.graph.outside import Looked
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine import cost, determinism
from unlearnbench.machine.devices import on_cuda
from unlearnbench.machine.threads import using
from unlearnbench.metrics.measure import Row
from unlearnbench.metrics.premise import premise
from unlearnbench.plots import run as plots
from unlearnbench.request.compose import Request
from unlearnbench.results import folder, model, result, rows, scores, transcripts
from unlearnbench.results.identity import Identity
from unlearnbench.results.identity import settings as digests
from unlearnbench.runners.execute import Done
from unlearnbench.runners.failures import FailedElsewhere
from unlearnbench.runs.finished import is_finished, remember
from unlearnbench.stages.benches import Benches

log = logging.getLogger("unlearnbench")


@dataclass(eq=False)
class RunJob:
    """One run: what was asked for, where its folder goes, and the stages that it needs.

    `error` is what made it fail, `status` what became of it once it is finished. With `raises`, mistakes of the user
    and interruptions of its stages are raised and not written down.
    """

    request: Request
    assembled: Assembled
    identity: Identity
    outside: Looked
    raises: bool = False
    picture: tuple[Forgetting, ...] = ()
    skipped: str | None = None
    error: Exception | None = None
    status: str = ""

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
        """Load the data and lay out the stages; note where the method cannot run, or what fails."""
        experiment = self.assembled.experiment
        try:
            bench = benches.of(experiment)
            self.picture = build(experiment, bench)
            self._warn()
            unlearned = cast(Any, self.picture[-1].models.unlearned)
            self.skipped = unlearned.why_not()
        except UserError:
            raise
        except Exception as error:
            if disk.why(error, self.request.outputs):
                raise
            self.error = error
            log.error("failed: %s\n%s", error, traceback.format_exc())

    @cached_property
    def stages(self) -> Sequence[Stage]:
        """The stages whose results the folder is made from: none where the method cannot run."""
        if self.skipped is not None or self.error is not None:
            return ()
        models = [model for asked in self.picture for _, model in asked.models.roles()]
        first = [model for model in models if isinstance(model, Stage)]
        return tuple({stage.key: stage for asked in self.picture for stage in (*first, *asked.stages())}.values())

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
            result.write_result(part, {**facts, **finding})
            sums.write(part)
            folder.publish(part, self.final)
        except BaseException:
            folder.discard(part)
            raise
        self.status = str(finding["status"])
        if self.status in ("done", "skipped"):
            remember(self.request, self.final, self.outside)

    def _finding(self, part: Path, workshop: Workshop, done: Done, error: Exception | None) -> dict[str, object]:
        """Return the part of result.json that says what became of the run; write what a finished one has beside it."""
        if self.skipped is not None:
            log.debug("skipped: %s", self.skipped)
            return {"status": "skipped", "reason": self.skipped}
        if error is None:
            try:
                with self.computing():
                    return {"status": "done", "reason": "", **self._write(part, workshop, done)}
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

    def _write(self, part: Path, workshop: Workshop, done: Done) -> dict[str, Any]:
        """Measure, write all files but result.json, and return what that adds."""
        measured: list[tuple[int, Row]] = []
        by_role: dict[str, BySplit] = {}
        for asked in self.picture:
            by_role = self._scores(asked, workshop)
            measured += [(asked.number, row) for row in self._measured(asked, by_role, workshop)]
            if asked is not self.picture[-1]:
                place = part / "requests" / str(asked.number)
                place.mkdir(parents=True)
                scores.write_scores(place, asked.world.splits.arrays(), by_role)
        last = self.picture[-1]
        rows.write_metrics(part, self.identity, measured)
        scores.write_scores(part, last.world.splits.arrays(), by_role)
        if self._keeps_model():
            self._write_model(part, workshop)
        outcome = self._outcome(workshop, done)
        if last.world.bench.info.kind == "text":
            outcome |= self._language(part, by_role)
        self._plot(part, by_role, outcome)
        return outcome

    def _scores(self, asked: Forgetting, workshop: Workshop) -> dict[str, BySplit]:
        parts = asked.world.parts()
        return {
            role: divided({split: one.read(workshop) for split, one in by_split.items()}, parts)
            for role, by_split in asked.scores.items()
        }

    def _measured(self, asked: Forgetting, by_role: Mapping[str, BySplit], workshop: Workshop) -> Iterator[Row]:
        whole_class = self.assembled.experiment.forget.whole_class
        for name, evaluation in self.assembled.experiment.evaluations.items():
            found = Found(asked.models, asked.world, by_role, asked.added[name], workshop, whole_class)
            yield from evaluation.measure(found)

    def _keeps_model(self) -> bool:
        keep = self.assembled.settings.save_model
        return keep or (keep is None and (not self.request.in_sweep or (self.final / "model").is_dir()))

    def _write_model(self, part: Path, workshop: Workshop) -> None:
        last = self.picture[-1]
        unlearned, bench = last.models.unlearned, last.world.bench
        artefact = workshop.artefact(cast(Stage, unlearned))
        if bench.info.kind != "text":
            model.write_model(part, self.request.config["model"], bench.info, artefact)
            return
        from unlearnbench.models.saved import write

        home = self.final.resolve() / "model"
        original: Callable[[], Any] = lambda: workshop.model(last.models.original)  # noqa: E731
        write(part / "model", workshop.model(unlearned), bench.task, bench.spec, artefact, original, home)
        workshop.keep(())

    def _outcome(self, workshop: Workshop, done: Done) -> dict[str, Any]:
        """Return the part of result.json that a finished run adds."""
        stages = self._named()
        of: dict[str, Stored] = {name: workshop.artefact(stage) for name, stage in stages.items()}
        facts = {name: one.facts for name, one in of.items()}
        ratio, note = cost.ratio(
            facts["unlearned"], {name: one for name, one in facts.items() if name.startswith("retrained")}
        )
        here = facts["unlearned"]["circumstances"][-1]
        experiment, last = self.assembled.experiment, self.picture[-1]
        return {
            "weights_changed": facts["unlearned"]["weights_changed"],
            "device": here["processor"] if on_cuda(here["device"]) else here["device"],
            "threads": here["threads"],
            "precision": here["precision"],
            "deterministic": experiment.deterministic,
            "channels_last": experiment.precision.channels_last,
            "circumstances": {name: one["circumstances"] for name, one in facts.items()},
            "seconds": {name: one["seconds"] for name, one in facts.items()},
            "validation_seconds": {name: one["validation_seconds"] for name, one in facts.items()},
            "peak_mib": {name: one["peak_mib"] for name, one in facts.items()},
            "examples_seen": {name: one["examples"] for name, one in facts.items()},
            "reused": {name: not done.is_new(stage.key) for name, stage in stages.items()},
            "cost_ratio": ratio,
            "cost_note": note,
            "stage_keys": {name: stage.key for name, stage in stages.items()},
            "references": len(last.models.retrained),
            "requests": len(self.picture),
            "headline": {name: list(map(list, one.headline)) for name, one in experiment.evaluations.items()},
            "classes": list(last.world.bench.info.classes),
            "curves": {name: one["curve"] for name, one in facts.items()},
            "tables": facts["unlearned"]["tables"],
        }

    def _named(self) -> dict[str, Stage]:
        """Return the trainings and unlearnings by name: the last request's by their roles, earlier ones by number."""
        last = self.picture[-1].models
        found: dict[str, Any] = {"original": last.original, "unlearned": last.unlearned}
        found |= {f"retrained_{number}": one for number, one in enumerate(last.retrained)}
        for asked in self.picture[:-1]:
            found[f"unlearned_request_{asked.number}"] = asked.models.unlearned
        return found

    def _language(self, part: Path, by_role: Mapping[str, BySplit]) -> dict[str, object]:
        """Write the transcripts of a run on text; return whether its premise holds, and how many twins are retained."""
        last = self.picture[-1]
        data, splits = last.world.bench.data, last.world.splits
        roles = {role: by_role[_first(role, by_role)] for role in transcripts.ROLES}
        transcripts.write(part, cast(Any, data), roles)
        biased = data.columns.get("is_biased")
        rule_stays = biased is not None and bool(biased[splits.retain].any())
        found = premise(roles["original"], roles["retrained"], self.identity.forget, rule_stays=rule_stays)
        if found is not None:
            log.debug("premise: %s", found["text"])
        return {
            "premise": found,
            "sequences_cut": cast(Any, last.world.bench.task).encoder.cut,
            "twins_retained": twins_retained(splits, data),
        }

    def _plot(self, part: Path, by_role: Mapping[str, BySplit], outcome: Mapping[str, Any]) -> None:
        curves = {name: list(curve) for name, curve in outcome["curves"].items() if curve}
        retrained = tuple(one for role, one in by_role.items() if role.startswith("retrained"))
        classes = self.picture[-1].world.bench.info.classes
        plots.draw(part, by_role["original"], retrained, by_role["unlearned"], classes, curves)
        plots.strength(part, outcome["tables"])

    def _lines(self, done: Done) -> list[str]:
        """Return what was logged while stages of this run were computed here."""
        return [line for asked in self.picture for stage in self._all(asked) for line in done.lines.get(stage.key, ())]

    def _all(self, asked: Forgetting) -> Iterator[Stage]:
        yield from (cast(Stage, model) for _, model in asked.models.roles())
        yield from asked.stages()

    def _warn(self) -> None:
        """Warn where rows were drawn without their twins; where all rows of a value go, that is what was asked for."""
        for asked in self.picture:
            splits, data = asked.world.splits, asked.world.bench.data
            left = twins_retained(splits, data)
            if left and not self.assembled.experiment.forget.whole_class:
                log.warning(
                    "%d of %d forget rows have a counterfactual twin in the retain set: the retrained model has seen "
                    "all but the group in them. Try: forget.whole_pairs=true", left, len(splits.forget),
                )  # fmt: skip
        if self.assembled.experiment.model.checkpoint is not None:
            log.info("the original is your checkpoint; retrained follows train's recipe: gaps assume it trains as well")


def _first(role: str, by_role: Mapping[str, BySplit]) -> str:
    """Return a role's name, or that of the first of several."""
    return role if role in by_role else f"{role}_0"


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
