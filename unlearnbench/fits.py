"""Whether the parts of a run can be used, and fit together: mistakes end here, before anything runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError, WrongKind, counted
from unlearnbench.models import checkpoint
from unlearnbench.models.start import adapter_of, is_pretrained, knows_language, reads_folder, started
from unlearnbench.models.timm_model import TimmModel
from unlearnbench.models.weightless import weightless
from unlearnbench.request.compose import Request
from unlearnbench.request.places import writable

log = logging.getLogger("unlearnbench")

WORDS = {"image": "images", "text": "text"}


def check_trains(request: Request, info: DataInfo) -> None:
    """Raise UserError for a data set that has no training rows."""
    if not info.train:
        raise UserError(
            f"dataset={request.name('dataset')} is for evaluation only.\n"
            f"Try: dataset=clinical_notes 'eval.extra=[{request.name('dataset')}]' eval.root=FOLDER"
        )


def check_kinds(request: Request, parts: dict[str, Any], evaluations: dict[str, Any], info: DataInfo) -> None:
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


def check_references(evaluations: dict[str, Any], count: int) -> None:
    """Raise UserError where an evaluation needs more retrained models than the run has."""
    for name, one in evaluations.items():
        needed: int = getattr(one, "references", 0)
        if count < needed:
            raise UserError(
                f"eval={name} needs at least {counted(needed, 'retrained model')}; reference.count={count}.\n"
                f"Try: reference.count={needed}"
            )


def check_unsteered(dataset: Any, recipe: Any, method: Any, held_out: Literal["test", "validation"]) -> None:
    """Raise UserError for what looks at the validation part, where dataset.validation=0 leaves none."""
    if getattr(dataset, "validation", None) != 0:
        return
    of_method = getattr(getattr(method, "optimizer", None), "schedule", None)
    for word, instead, needed in (
        ("train.optimizer.schedule=plateau", "train=standard", recipe.optimizer.schedule == "plateau"),
        ("method.optimizer.schedule=plateau", "++method.optimizer.schedule=one_cycle", of_method == "plateau"),
        ("eval.held_out=validation", "eval.held_out=test", held_out == "validation"),
    ):
        if needed:
            raise UserError(
                f"{word} needs validation images, and dataset.validation=0 leaves none.\n"
                f"Try: dataset.validation=0.1, or {instead}"
            )


def check_name(request: Request, model: Any) -> None:
    """Raise UserError where another of timm's architectures would go by the name of this one in results."""
    other = any(word.lstrip("+").startswith("model.architecture=") for word in request.overrides)
    if isinstance(model, TimmModel) and other and request.name("model") != "timm":
        raise UserError(
            f"model={request.name('model')} is one architecture, by whose name its results go.\n"
            f"Try: model=timm model.architecture={model.architecture}"
        )


def check_outputs(outputs: str) -> None:
    """Raise UserError where the folder of results is not writable."""
    if not outputs.strip():
        raise UserError("outputs= is empty.\nTry: outputs=FOLDER, or without it: outputs=outputs")
    writable(Path(outputs), "outputs=", below=("runs", "cache"))


def check_data(dataset: Any) -> None:
    """Raise UserError where the data is missing or damaged."""
    dataset.check()


def check_model(model: Any, dataset: Any) -> None:
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
