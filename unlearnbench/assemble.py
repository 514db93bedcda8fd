"""A request's typed objects, and every check that needs no data: mistakes end here, before anything runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError, WrongKind, counted, nearest
from unlearnbench.experiment import Experiment
from unlearnbench.forget.splits import full_label
from unlearnbench.machine.devices import Device, on_cuda
from unlearnbench.machine.precision import Choice, resolve
from unlearnbench.machine.threads import Threads
from unlearnbench.models import checkpoint
from unlearnbench.models.start import adapter_of, is_pretrained, knows_language, reads_folder, started
from unlearnbench.models.timm_model import TimmModel
from unlearnbench.models.weightless import weightless
from unlearnbench.ranges import MOST, Count, Limit, Positive, Seed
from unlearnbench.request import margins, plugins, reported
from unlearnbench.request.compose import Request
from unlearnbench.request.config import build, build_class, config_root, typed
from unlearnbench.request.once import Once
from unlearnbench.request.places import writable
from unlearnbench.request.reported import Reported

log = logging.getLogger("unlearnbench")

WORDS = {"image": "images", "text": "text"}
EXTRA = ("bbq", "crows_pairs", "stereoset")
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
    config = request.config
    outside = {key: value for key, value in config.items() if key not in (*PARTS, "tuning", "runner", "track")}
    build(config["runner"], "runner")
    evaluations, outside["eval"] = _evaluations(config["eval"])
    settings: Settings = typed(Settings, outside, "")
    reported.check(settings.reported)
    margins.check(settings.margin, (column.metric for one in evaluations.values() for column in one.headline))
    if config.get("tuning"):
        raise UserError("tuning has no settings: a model's are in tuned/NAME/METHOD.yaml, for the tuning of that NAME.")
    parts = {name: _part(config, name) for name in PARTS if name != "forget"}
    parts["forget"] = _forget(config)
    dataset, method = parts["dataset"], parts["method"]
    info: DataInfo = dataset.info()
    if not info.train:
        raise UserError(
            f"dataset={request.name('dataset')} is for evaluation only.\n"
            f"Try: dataset=clinical_notes 'eval.extra=[{request.name('dataset')}]' eval.root=FOLDER"
        )
    forget = full_label(parts["forget"], info)
    _check_kinds(request, {"method": method, "model": parts["model"]}, evaluations, info)
    model = _with_file(parts["model"])
    _check_references(evaluations, settings.reference.count)
    precision = resolve(
        settings.precision, settings.device, request.name("model"), max(info.shape, default=0), planning=planning
    )
    once(_check_outputs, settings.outputs)
    if not info.held_out:
        _check_unsteered(dataset, parts["train"], method, settings)
    _check_name(request, model)
    once(_check_model, model, dataset)
    once(_check_data, dataset)
    settled = getattr(method, "settled", None)
    method = method if settled is None else settled(model)
    extra = {name: _extra(name, settings.eval, info) for name in settings.eval.extra}
    experiment = Experiment(
        seed=settings.seed,
        unlearn_seed=settings.seed if settings.unlearn_seed is None else settings.unlearn_seed,
        eval_seed=settings.seed if settings.eval_seed is None else settings.eval_seed,
        dataset=dataset,
        model=model,
        forget=parts["forget"],
        method=method,
        recipe=parts["train"],
        references=settings.reference.count,
        evaluations=evaluations,
        eval_held_out=settings.eval.held_out,
        eval_limit=settings.eval.limit,
        eval_batch=settings.eval.batch_size,
        eval_generate=settings.eval.generate,
        extra=extra,
        precision=precision,
        deterministic=settings.deterministic or not on_cuda(precision.device),  # on a CPU, equal runs are equal anyway
    )
    return Assembled(experiment, settings, info, forget)


def _check_kinds(request: Request, parts: dict[str, Any], evaluations: dict[str, Any], info: DataInfo) -> None:
    """Raise WrongKind for a part of the run, or an evaluation, that is made for another kind of data."""
    named = [(f"{group}={request.name(group)}", f"{group}s", part) for group, part in parts.items()]
    named += [(f"eval={name}", "evaluations", one) for name, one in evaluations.items()]
    for word, topic, part in named:
        kinds = getattr(part, "kinds", WORDS.keys())
        if info.kind not in kinds:
            raise WrongKind(
                f"{word} needs {' or '.join(WORDS[kind] for kind in sorted(kinds))}; "
                f"dataset={request.name('dataset')} is {info.kind}.\nTry: `unlearnbench list {topic}`"
            )


def _check_references(evaluations: dict[str, Any], count: int) -> None:
    """Raise UserError where an evaluation needs more retrained models than the run has."""
    for name, one in evaluations.items():
        needed: int = getattr(one, "references", 0)
        if count < needed:
            raise UserError(
                f"eval={name} needs at least {counted(needed, 'retrained model')}; reference.count={count}.\n"
                f"Try: reference.count={needed}"
            )


def _check_unsteered(dataset: Any, recipe: Any, method: Any, settings: Settings) -> None:
    """Raise UserError for what looks at the validation part, where dataset.validation=0 leaves none."""
    if getattr(dataset, "validation", None) != 0:
        return
    of_method = getattr(getattr(method, "optimizer", None), "schedule", None)
    for word, instead, needed in (
        ("train.optimizer.schedule=plateau", "train=standard", recipe.optimizer.schedule == "plateau"),
        ("method.optimizer.schedule=plateau", "++method.optimizer.schedule=one_cycle", of_method == "plateau"),
        ("eval.held_out=validation", "eval.held_out=test", settings.eval.held_out == "validation"),
    ):
        if needed:
            raise UserError(
                f"{word} needs validation images, and dataset.validation=0 leaves none.\n"
                f"Try: dataset.validation=0.1, or {instead}"
            )


def _with_file(model: Any) -> Any:
    """Return a model that reads a file with the file of weights in the folder that its checkpoint may name."""
    if model.checkpoint is None or reads_folder(model):
        return model
    file = checkpoint.file_of(model.checkpoint)
    return model if file == model.checkpoint else replace(model, checkpoint=file)


def _check_name(request: Request, model: Any) -> None:
    """Raise UserError where another of timm's architectures would go by the name of this one in results."""
    other = any(word.lstrip("+").startswith("model.architecture=") for word in request.overrides)
    if isinstance(model, TimmModel) and other and request.name("model") != "timm":
        raise UserError(
            f"model={request.name('model')} is one architecture, by whose name its results go.\n"
            f"Try: model=timm model.architecture={model.architecture}"
        )


def _check_outputs(outputs: str) -> None:
    """Raise UserError where the folder of results is not writable."""
    if not outputs.strip():
        raise UserError("outputs= is empty.\nTry: outputs=FOLDER, or without it: outputs=outputs")
    writable(Path(outputs), "outputs=", below=("runs", "cache"))


def _check_data(dataset: Any) -> None:
    """Raise UserError where the data is missing or damaged."""
    dataset.check()


def _check_model(model: Any, dataset: Any) -> None:
    """Raise UserError where the model's files or weights, its architecture or its adapter's targets cannot be used."""
    info: DataInfo = dataset.info()
    if hasattr(model, "check"):
        model.check()
    with weightless():
        built = model.build(info)  # what cannot be built ends here, and costs no memory
    if adapter_of(model) is not None:
        from unlearnbench.models import adapter

        adapter.check(built, model.adapter)
    if model.checkpoint is not None and not reads_folder(model):
        checkpoint.check_classes(model.checkpoint, info.classes)
        if checkpoint.load(model.build(info), model.checkpoint):
            log.info(
                "model.checkpoint=%s: its averaged weights (%s) are used, as timm does",
                model.checkpoint, checkpoint.AVERAGED,
            )  # fmt: skip
    if is_pretrained(model) and not knows_language(model):
        started(model, info)  # weights that do not fit end here too; those of a language model are too large to try


def _extra(name: str, settings: Scoring, info: DataInfo) -> Any:
    """Build and check a further evaluation set from its YAML, in the folder of its name below eval.root."""
    from omegaconf import OmegaConf

    file = config_root() / "dataset" / f"{name}.yaml"
    if name not in EXTRA:
        raise UserError(f"eval.extra names {name!r}.{nearest(name, EXTRA)}\nIt can be: {', '.join(EXTRA)}")
    values: Any = OmegaConf.to_container(OmegaConf.load(file))
    root = settings.root / name if settings.root is not None else None
    dataset = build(
        {**values, "root": str(root) if root else None, "limit_test": settings.limit}, f"eval.extra.{name}", "dataset"
    )
    kind = dataset.info().kind
    if info.kind != kind:
        raise UserError(f"eval.extra={name} is {kind}, and the data set is {info.kind}.\nTry: dataset=clinical_notes")
    dataset.check()
    return dataset


def _part(config: dict[str, Any], name: str) -> Any:
    values = config.get(name)
    if not isinstance(values, dict):
        raise UserError(f"{name} has no choice.\nTry: `unlearnbench list`, then {name}=NAME")
    return build(values, name)


def _evaluations(values: Any) -> tuple[dict[str, Any], Any]:
    """Build the evaluations that were chosen; return them by name, and the settings that all of them share."""
    if not isinstance(values, dict):
        return {}, values
    chosen = {name: one for name, one in values.items() if isinstance(one, dict)}
    if not chosen:
        raise UserError("eval has no choice: nothing would be measured.\nTry: eval=[standard]")
    shared = {name: one for name, one in values.items() if name not in chosen}
    for name, one in shared.items():
        if name in _shipped("eval"):
            raise UserError(
                f"eval.{name}={one}: {name} is an evaluation, and its settings have names.\n"
                f"Try: 'eval=[standard,{name}]' and eval.{name}.SETTING=VALUE; `unlearnbench run --cfg job` shows them"
            )
    found: dict[str, Any] = {name: build(one, f"eval.{name}", "eval") for name, one in chosen.items()}
    beside = {name: one.beside(found.values()) for name, one in found.items() if hasattr(one, "beside")}
    return found | beside, shared


@cache
def _shipped(group: str) -> frozenset[str]:
    """Return the names of our own choices in a group."""
    return frozenset(file.stem for file in (config_root() / group).glob("*.yaml"))


def _forget(config: dict[str, Any]) -> Any:
    """Build the forget set; each request of a stream from its own group's YAML and the values it adds."""
    from omegaconf import OmegaConf

    values = config.get("forget")
    if not isinstance(values, dict) or not isinstance(values.get("requests"), list):
        return _part(config, "forget")
    kind: Any = build_class(values.get("_target_"), "forget", ("forget",))
    built = []
    for number, one in enumerate(values["requests"]):
        where = f"forget.requests[{number}]"
        name = one.get("forget") if isinstance(one, dict) else None
        known = sorted(_shipped("forget") - {"stream"})
        if name not in known:
            raise UserError(
                f"{where} has forget={name}, expected one of {', '.join(known)}.{nearest(str(name), known)}\n"
                "Try: 'forget.requests=[{forget: class, classes: [0]}, {forget: class, classes: [1]}]'"
            )
        own: Any = OmegaConf.to_container(OmegaConf.load(config_root() / "forget" / f"{name}.yaml"))
        added = {key: value for key, value in one.items() if key != "forget"}
        built.append(build({**own, **added}, where, "forget"))
    rest = {key: value for key, value in values.items() if key != "_target_"}
    given: Any = typed(kind, {**rest, "requests": []}, "forget")
    return replace(given, requests=tuple(built))
