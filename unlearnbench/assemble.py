"""A request's typed objects, built and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from unlearnbench import fits
from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.experiment import Experiment
from unlearnbench.forget.splits import full_label
from unlearnbench.machine.devices import Device, on_cuda
from unlearnbench.machine.precision import Choice, resolve
from unlearnbench.machine.threads import Threads
from unlearnbench.models import checkpoint
from unlearnbench.models.start import reads_folder
from unlearnbench.ranges import MOST, Count, Limit, Positive, Seed
from unlearnbench.request import margins, parts, plugins, reported
from unlearnbench.request.compose import Request
from unlearnbench.request.config import build, typed
from unlearnbench.request.once import Once
from unlearnbench.request.reported import Reported

PARTS = ("dataset", "model", "forget", "method", "train")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How many retrained models, of different seeds, a run is compared with; 0 where retraining costs too much."""

    count: Annotated[int, Field(ge=0, le=1000)]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How many examples a split are scored (null: all), and how many at once; what else is evaluated of text.

    `held_out` is what is scored as test: the test set, or the validation part, to choose settings by. `exposed` is how
    many forget rows are shown that are still most exposed.
    """

    held_out: Literal["test", "validation"]
    limit: Limit | None
    batch_size: Count
    generate: Annotated[int, Field(ge=0, le=MOST)]
    extra: tuple[str, ...]
    root: Path | None
    exposed: Annotated[int, Field(ge=0, le=1000)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of a run that are outside the groups."""

    seed: Seed
    unlearn_seed: Seed | None
    eval_seed: Seed | None
    device: Device
    precision: Choice
    threads: Threads
    deterministic: bool
    outputs: str
    save_model: bool | None
    plots: bool | None
    reference: Reference
    eval: Scoring
    margin: Mapping[str, Positive]
    reported: tuple[Reported, ...]


@dataclass(frozen=True)
class Assembled:
    """A checked experiment, with what is known of it before it runs."""

    experiment: Experiment
    settings: Settings
    info: DataInfo
    forget: str


def assemble(request: Request, *, planning: bool = False, once: Once | None = None) -> Assembled:
    """Build and check everything that a request names; raise UserError for what the user can mend.

    With `planning`, nothing will run here: the device need not be here. The jobs of a sweep share `once`.
    """
    once = once or Once()
    plugins.modules()  # one that does not import ends here
    evaluations, settings = _settings(request)
    found = {name: parts.part(request.config, name) for name in PARTS if name != "forget"}
    dataset, method, forget = found["dataset"], found["method"], parts.forget(request.config)
    info: DataInfo = dataset.info()
    fits.check_trains(request, info)
    label = full_label(forget, info)
    fits.check_kinds(request, {"method": method, "model": found["model"]}, evaluations, info)
    model = _with_file(found["model"])
    fits.check_references(evaluations, settings.reference.count)
    precision = resolve(
        settings.precision, settings.device, request.name("model"), max(info.shape, default=0), planning=planning
    )
    once(fits.check_outputs, settings.outputs)
    if not info.held_out:
        fits.check_unsteered(dataset, found["train"], method, settings.eval.held_out)
    fits.check_name(request, model)
    once(fits.check_model, model, dataset)
    once(fits.check_data, dataset)
    settled, asked = getattr(method, "settled", None), settings.eval
    experiment = Experiment(
        seed=settings.seed,
        unlearn_seed=settings.seed if settings.unlearn_seed is None else settings.unlearn_seed,
        eval_seed=settings.seed if settings.eval_seed is None else settings.eval_seed,
        dataset=dataset,
        model=model,
        forget=forget,
        method=method if settled is None else settled(model),
        recipe=found["train"],
        references=settings.reference.count,
        evaluations=evaluations,
        eval_held_out=asked.held_out,
        eval_limit=asked.limit,
        eval_batch=asked.batch_size,
        eval_generate=asked.generate,
        extra={name: parts.extra(name, asked.root, asked.limit, info) for name in asked.extra},
        precision=precision,
        deterministic=settings.deterministic or not on_cuda(precision.device),  # on a CPU, equal runs are equal anyway
    )
    return Assembled(experiment, settings, info, label)


def _settings(request: Request) -> tuple[dict[str, Any], Settings]:
    """Return the evaluations, and the settings outside the groups, checked by themselves."""
    config = request.config
    outside = {key: value for key, value in config.items() if key not in (*PARTS, "tuning", "runner", "track")}
    build(config["runner"], "runner")
    evaluations, outside["eval"] = parts.evaluations(config["eval"])
    settings: Settings = typed(Settings, outside, "")
    reported.check(settings.reported)
    margins.check(settings.margin, (column.metric for one in evaluations.values() for column in one.headline))
    if config.get("tuning"):
        raise UserError("tuning has no settings: a model's are in tuned/NAME/METHOD.yaml, for the tuning of that NAME.")
    return evaluations, settings


def _with_file(model: Any) -> Any:
    """Return a model that reads a file with the file of weights in the folder that its checkpoint may name."""
    if model.checkpoint is None or reads_folder(model):
        return model
    file = checkpoint.file_of(model.checkpoint)
    return model if file == model.checkpoint else replace(model, checkpoint=file)
