"""How a model starts: pretrained or random, with or without an adapter."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, TypeGuard

if TYPE_CHECKING:
    from torch import nn

    from unlearnbench.contracts import DataInfo, FromFolder, ModelSpec, Pretrained
    from unlearnbench.models.adapter import Adapter

Base = Literal["clean", "unknown"]
"""What is known of the weights that original and retrained start from: they never saw the forget rows, or nothing."""
UNKNOWN = (
    "The retrained model starts from weights that may have seen the forget set (model.base=unknown), so it may know it "
    "too."
)


def is_pretrained(spec: ModelSpec) -> TypeGuard[Pretrained]:
    """Return whether the model starts from pretrained weights."""
    return hasattr(spec, "start") and getattr(spec, "pretrained", True) is not False


def adapter_of(spec: ModelSpec) -> Adapter | None:
    """Return the low-rank adapter to train, or None to train all weights."""
    adapter: Adapter | None = getattr(spec, "adapter", None)
    return adapter if adapter is not None and adapter.r > 0 else None


def is_four_bit(spec: ModelSpec) -> bool:
    """Return whether the model keeps its pretrained weights in 4 bits and learns beside them."""
    return bool(getattr(spec, "load_in_4bit", False))


def started(spec: ModelSpec, info: DataInfo) -> nn.Module:
    """Return the model before training; random weights come from torch's global generator."""
    return spec.start(info) if is_pretrained(spec) else spec.build(info)


def is_language(spec: ModelSpec) -> bool:
    """Return whether the model is a language model: it brings a tokenizer, or learns one."""
    return hasattr(spec, "tokenizer")


def knows_language(spec: ModelSpec) -> bool:
    """Return whether the model is a pretrained language model: with random weights it would know no language."""
    return is_language(spec) and is_pretrained(spec)


def incompetent(spec: ModelSpec, info: DataInfo) -> nn.Module:
    """Return a model that never saw the training data: random, or a pretrained language model."""
    return started(spec, info) if is_language(spec) else spec.build(info)


def trainable(spec: ModelSpec, model: nn.Module) -> nn.Module:
    """Return the model ready for training: a new adapter on frozen weights, or all weights.

    What is around the model stays there.
    """
    adapter = adapter_of(spec)
    if adapter is None:
        return model.requires_grad_(True)
    from unlearnbench.models.adapter import attach
    from unlearnbench.models.wrapper import Wrapper

    return model.around(trainable(spec, model.model)) if isinstance(model, Wrapper) else attach(model, adapter)


def base_note(spec: ModelSpec) -> str:
    """Return what every table must say about the weights that all models start from, or ""."""
    return UNKNOWN if getattr(spec, "base", None) == "unknown" else ""


def reads_folder(spec: ModelSpec) -> TypeGuard[FromFolder]:
    """Return whether the model reads its original from the user's own folder, and so need not keep it."""
    return hasattr(spec, "finetuned")


def original_of(spec: ModelSpec, info: DataInfo) -> nn.Module:
    """Return the model with the user's own trained weights.

    Raises UserError if they do not fit.
    """
    if reads_folder(spec):
        return spec.finetuned(info)
    from unlearnbench.models import checkpoint

    assert spec.checkpoint is not None
    model = spec.build(info)
    checkpoint.load(model, spec.checkpoint)
    return model


def original_content(spec: ModelSpec) -> object:
    """Return what decides the user's own trained weights: their file, or the files of their folder."""
    return dict(spec.checkpoint_files()) if reads_folder(spec) else spec.checkpoint


def as_retrained(model: object) -> object:
    """Return the configuration of a retrained model: without a checkpoint, and whatever is known of its start."""
    fields = {field.name for field in dataclasses.fields(model)} if dataclasses.is_dataclass(model) else set()
    changes = dict.fromkeys(fields & {"checkpoint", "base"})
    return dataclasses.replace(model, **changes) if changes else model  # type: ignore[type-var]
