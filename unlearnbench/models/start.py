"""How a model starts: with pretrained weights if there are any, else random; with an adapter if requested."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn

    from unlearnbench.contracts import DataInfo, ModelSpec
    from unlearnbench.models.adapter import Adapter


def is_pretrained(spec: ModelSpec) -> bool:
    """Return whether the model starts from pretrained weights: always, or if `pretrained` asks for them."""
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
    """Return a model that never saw the training data: random weights, or a language model's pretrained ones."""
    return started(spec, info) if "text" in spec.kinds else spec.build(info)


def trainable(spec: ModelSpec, model: nn.Module) -> nn.Module:
    """Return the model ready for training: with a new adapter on frozen weights, or with all weights trainable."""
    adapter = adapter_of(spec)
    if adapter is None:
        return model.requires_grad_(True)
    from unlearnbench.models.adapter import attach

    return attach(model, adapter)


def model_without_checkpoint(model: object) -> object:
    """Return the model's configuration for a retrained model: only the original starts from a checkpoint."""
    fields = {field.name for field in dataclasses.fields(model)} if dataclasses.is_dataclass(model) else set()
    return dataclasses.replace(model, checkpoint=None) if "checkpoint" in fields else model  # type: ignore[type-var]
