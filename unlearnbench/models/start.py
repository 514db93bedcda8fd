"""How a model starts: pretrained or random, with or without an adapter."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn

    from unlearnbench.contracts import DataInfo, ModelSpec
    from unlearnbench.models.adapter import Adapter


def is_pretrained(spec: ModelSpec) -> bool:
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
    if is_pretrained(spec):
        model: nn.Module = cast(Any, spec).start(info)
        return model
    return spec.build(info)


def incompetent(spec: ModelSpec, info: DataInfo) -> nn.Module:
    """Return a model that never saw the training data: random, or a pretrained language model."""
    return started(spec, info) if "text" in spec.kinds else spec.build(info)


def trainable(spec: ModelSpec, model: nn.Module) -> nn.Module:
    """Return the model ready for training: a new adapter on frozen weights, or all weights."""
    adapter = adapter_of(spec)
    if adapter is None:
        return model.requires_grad_(True)
    from unlearnbench.models.adapter import attach

    return attach(model, adapter)


def model_without_checkpoint(model: object) -> object:
    """Return the configuration of a retrained model, which has no checkpoint."""
    fields = {field.name for field in dataclasses.fields(model)} if dataclasses.is_dataclass(model) else set()
    return dataclasses.replace(model, checkpoint=None) if "checkpoint" in fields else model  # type: ignore[type-var]
