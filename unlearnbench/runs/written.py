"""What a finished run writes: measured rows, scores, rows still exposed, the model, transcripts and figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from unlearnbench.across.kinds import recorded
from unlearnbench.evaluations.evaluation import Evaluation, Found, divided, headline_of
from unlearnbench.evidence import ROLES, BySplit, Scores
from unlearnbench.experiment import Forgetting
from unlearnbench.forget.splits import twins_retained
from unlearnbench.graph.artefact import TENSORS, Stored
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine import cost
from unlearnbench.machine.devices import on_cuda
from unlearnbench.metrics import remarks
from unlearnbench.metrics.measure import Row
from unlearnbench.metrics.premise import premise
from unlearnbench.models.start import is_language
from unlearnbench.plots import comeback
from unlearnbench.plots import run as plots
from unlearnbench.request import margins
from unlearnbench.results import exposed, forgotten, model, rows, scores, transcripts, words
from unlearnbench.runners.execute import Done
from unlearnbench.stages.score import Score

if TYPE_CHECKING:
    from unlearnbench.data.text import TextData
    from unlearnbench.runs.job import RunJob

log = logging.getLogger("unlearnbench")

ALIKE = 0.05
"""How much less of retain a retrained model may get right than the user's own original, before a run remarks on it."""


DIGESTED = ("retain", "forget", "test")
"""The splits whose content result.json identifies by a digest."""


def write(job: RunJob, part: Path, workshop: Workshop, done: Done) -> dict[str, Any]:
    """Measure, write all files but result.json, and return what that adds."""
    measured: list[tuple[int, Row]] = []
    by_role: dict[str, BySplit] = {}
    for asked in job.picture:
        by_role = _scores(job, asked, workshop)
        measured += [(asked.number, row) for row in _measured(job, asked, by_role, workshop)]
        if asked is not job.picture[-1]:
            place = part / "requests" / str(asked.number)
            place.mkdir(parents=True)
            scores.write_scores(place, asked.world.splits.arrays(), {**by_role, **_networks(asked, workshop)})
    last = job.picture[-1]
    rows.write_metrics(part, job.identity, measured)
    scores.write_scores(part, last.world.splits.arrays(), {**by_role, **_networks(last, workshop)})
    exposed.write(part, last.world.bench.data, by_role, job.assembled.settings.eval.exposed)
    if job.assembled.settings.eval.exposed:
        asked_for = [(asked.number, asked.world.splits.forget) for asked in job.picture]
        forgotten.write(part, last.world.bench.data, asked_for)
    rows.write_left_out(part, getattr(last.world.bench.data, "left_out", {}))
    if _keeps_model(job):
        write_model(job, part, workshop)
    outcome = _outcome(job, workshop, done)
    if outcome["checkpoint"] is not None:
        outcome["checkpoint"]["text"] += _worse_than_checkpoint(by_role)
    if is_language(last.world.bench.spec):
        outcome |= _language(job, part, by_role)
    outcome["rows"] = {name: len(index) for name, index in last.world.splits.arrays().items()}
    outcome["scored"] = {name: len(scored) for name, scored in by_role["unlearned"].items()}
    outcome["remarks"] = [*remarks.prepared(outcome["preparation_seconds"]["unlearned"])]
    outcome["remarks"] += list(_remarks(job, by_role, measured, has_premise=outcome.get("premise") is not None))
    values = {(row.role, row.split, row.metric): row.value for number, row in measured if number == last.number}
    outcome["words"] = words.words(values, {**outcome, "margin": margins.carried(job.request)})
    asked_of: dict[str, Any] = {}
    for name, evaluation, found in _found(job, last, by_role, workshop):
        own: Any = evaluation
        if hasattr(own, "details"):
            asked_of[name] = own.details(found)
        if hasattr(own, "draw") and job.request.draws:
            own.draw(found, part / "plots")
    outcome["evaluations"] = asked_of
    if job.request.draws:
        _plot(job, part, by_role, outcome)
        comeback.draw(part, measured)
    return outcome


def _scores(job: RunJob, asked: Forgetting, workshop: Workshop) -> dict[str, BySplit]:
    parts = asked.world.parts()
    return {
        role: divided({split: one.read(workshop) for split, one in by_split.items()}, parts)
        for role, by_split in asked.scores.items()
    }


def _networks(asked: Forgetting, workshop: Workshop) -> dict[str, BySplit]:
    """Return the scores of the networks that ZRF compares with, by their roles: whoever checks a run needs them."""
    found: dict[str, dict[str, Scores]] = {}
    for stage in asked.added.get("standard", {}).values():
        assert isinstance(stage, Score)
        found.setdefault(stage.model.role, {})[stage.split] = stage.read(workshop)
    return dict(found)


def _measured(job: RunJob, asked: Forgetting, by_role: Mapping[str, BySplit], workshop: Workshop) -> Iterator[Row]:
    for _, evaluation, found in _found(job, asked, by_role, workshop):
        yield from evaluation.measure(found)


def _found(
    job: RunJob, asked: Forgetting, by_role: Mapping[str, BySplit], workshop: Workshop
) -> Iterator[tuple[str, Evaluation, Found]]:
    """Yield each evaluation by its name, with what it may look at."""
    whole_class = job.assembled.experiment.forget.whole_class
    for name, evaluation in job.assembled.experiment.evaluations.items():
        found = Found(asked.models, asked.world, by_role, asked.scores, asked.added[name], workshop, whole_class)
        yield name, evaluation, found


def _worse_than_checkpoint(by_role: Mapping[str, BySplit]) -> str:
    """Return what to say where the retrained models know retain less well than the user's own original; else ""."""
    right = {role: float(by_split["retain"].right[1].mean()) for role, by_split in by_role.items()}
    retrained = [value for role, value in right.items() if role.startswith("retrained")]
    if not retrained or right["original"] - fmean(retrained) <= ALIKE:
        return ""
    name, _ = by_role["original"]["retain"].right
    return (
        f". The retrained model is worse on retain than your checkpoint ({name} {fmean(retrained):.3f} against "
        f"{right['original']:.3f}): it was not trained as well, so gaps to it are not about forgetting alone. "
        "Try: the recipe that your checkpoint was trained with (train.epochs, train.optimizer.lr)"
    )


def _remarks(
    job: RunJob, by_role: Mapping[str, BySplit], measured: list[tuple[int, Row]], *, has_premise: bool
) -> Iterator[str]:
    """Yield what a reader must know before the numbers of the last request."""
    last, experiment = job.picture[-1], job.assembled.experiment
    original = by_role["original"]
    retrained = [by_split for role, by_split in by_role.items() if role.startswith("retrained")]
    given = experiment.model.checkpoint is not None
    if not has_premise:
        yield from remarks.little_to_forget(
            original, retrained, whole_class=experiment.forget.whole_class, checkpoint=given
        )
    yield from remarks.few_rows(original)
    for number, row in measured:
        if number == last.number and (row.role, row.split, row.metric) == ("retrained", "forget", "mia_auc"):
            yield from remarks.unlike(row.value)


def _keeps_model(job: RunJob) -> bool:
    keep = job.assembled.settings.save_model
    return keep or (keep is None and (not job.request.in_sweep or (job.final / "model").is_dir()))


def write_model(job: RunJob, part: Path, workshop: Workshop) -> None:
    """Write the unlearned model into model/ of a folder."""
    last = job.picture[-1]
    unlearned, bench = last.models.unlearned, last.world.bench
    artefact = workshop.artefact(unlearned)
    if not is_language(bench.spec):
        model.write_model(part, job.request.config["model"], bench.info, artefact)
        return
    from unlearnbench.models.saved import write

    home = job.final.resolve() / "model"
    original: Callable[[], Any] = lambda: workshop.model(last.models.original)  # noqa: E731
    write(part / "model", workshop.model(unlearned), bench.task, bench.spec, artefact, original, home)


def _outcome(job: RunJob, workshop: Workshop, done: Done) -> dict[str, Any]:
    """Return the part of result.json that a finished run adds."""
    stages = _named(job)
    of: dict[str, Stored] = {name: workshop.artefact(stage) for name, stage in stages.items()}
    facts = {name: one.facts for name, one in of.items()}
    here = facts["unlearned"]["circumstances"][-1]
    experiment, last = job.assembled.experiment, job.picture[-1]
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
        "preparation_seconds": {name: one.get("preparation_seconds", 0.0) for name, one in facts.items()},
        "peak_mib": {name: one["peak_mib"] for name, one in facts.items()},
        **_used(facts),
        **_price(facts, getattr(experiment.method, "cost_note", None)),
        "reused": {name: not done.is_new(stage.key) for name, stage in stages.items()},
        "stage_keys": {name: stage.key for name, stage in stages.items()},
        "sha256": {
            "weights": {name: one.sums[TENSORS] for name, one in of.items()},
            "data": {name: last.world.bench.print(getattr(last.world.splits, name)) for name in DIGESTED},
        },
        "whole_class": experiment.forget.whole_class,
        "references": len(last.models.retrained),
        "checkpoint": None if experiment.model.checkpoint is None else job.picture[0].world.seen_by_checkpoint(),
        "requests": len(job.picture),
        "headline": {
            name: list(map(list, headline_of(one, experiment.references)))
            for name, one in experiment.evaluations.items()
        },
        "across": recorded(experiment.evaluations),
        "classes": list(last.world.bench.info.classes),
        "curves": {name: one["curve"] for name, one in facts.items()},
        "tables": facts["unlearned"]["tables"],
        "plots": job.request.draws,
        "exposed": job.assembled.settings.eval.exposed,
    }


def _used(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what each training used beside wall-clock seconds, where it is known, and how many examples it saw."""
    kinds = ("cpu_seconds", "gpu_seconds")
    used = {kind: {name: one[kind] for name, one in facts.items() if kind in one} for kind in kinds}
    return {**used, "examples_seen": {name: one["examples"] for name, one in facts.items()}}


def _price(facts: Mapping[str, Mapping[str, Any]], elsewhere: str | None) -> dict[str, Any]:
    """Return the ratios to retraining, and a note; no ratio for what was computed `elsewhere`, as it says."""
    retrained = {name: one for name, one in facts.items() if name.startswith("retrained")}
    ratio, note = (None, elsewhere) if elsewhere else cost.ratio(facts["unlearned"], retrained)
    seen = {name: one["examples"] for name, one in facts.items()}
    return {
        "cost_ratio": ratio,
        "cost_note": note,
        "compute_ratio": None if elsewhere else cost.compute_ratio(facts["unlearned"], retrained),
        "examples_ratio": None if elsewhere else cost.examples_ratio(seen),
    }


def _named(job: RunJob) -> dict[str, Stage]:
    """Return the trainings and unlearnings by name: the last request's by their roles, earlier ones by number."""
    last = job.picture[-1].models
    found: dict[str, Any] = {"original": last.original, "unlearned": last.unlearned}
    found |= {f"retrained_{number}": one for number, one in enumerate(last.retrained)}
    for asked in job.picture[:-1]:
        found[f"unlearned_request_{asked.number}"] = asked.models.unlearned
    return found


def _language(job: RunJob, part: Path, by_role: Mapping[str, BySplit]) -> dict[str, object]:
    """Write the transcripts of a run on text; return whether its premise holds, and how many twins are retained."""
    last = job.picture[-1]
    splits, data = last.world.splits, cast("TextData", last.world.bench.data)
    roles = {role: by_role[name] for role in ROLES if (name := _first(role, by_role)) in by_role}
    transcripts.write(part, data, roles)
    biased = data.columns.get("is_biased")
    rule_stays = biased is not None and bool(biased[splits.retain].any())
    found = None
    if "retrained" in roles:
        found = premise(roles["original"], roles["retrained"], job.identity.forget, rule_stays=rule_stays)
    if found is not None:
        log.debug("premise: %s", found["text"])
    return {
        "premise": found,
        "sequences_cut": last.world.bench.task.cut,
        "twins_retained": twins_retained(splits, last.world.bench.data),
    }


def _plot(job: RunJob, part: Path, by_role: Mapping[str, BySplit], outcome: Mapping[str, Any]) -> None:
    curves = {name: list(curve) for name, curve in outcome["curves"].items() if curve}
    retrained = tuple(one for role, one in by_role.items() if role.startswith("retrained"))
    classes = job.picture[-1].world.bench.info.classes
    plots.draw(part, by_role["original"], retrained, by_role["unlearned"], classes, curves)
    plots.tried(part, outcome["tables"])


def _first(role: str, by_role: Mapping[str, BySplit]) -> str:
    """Return a role's name, or that of the first of several."""
    return role if role in by_role else f"{role}_0"
