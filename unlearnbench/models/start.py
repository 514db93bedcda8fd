"""How a model begins: pretrained where there are weights, else random; behind an adapter where one is asked for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn

    from unlearnbench.contracts import DataInfo, ModelSpec
    from unlearnbench.models.adapter import Adapter


def is_pretrained(spec: ModelSpec) -> bool:
    """Return whether the model starts from somebody's weights: always, or where `pretrained` asks for them."""
    return hasattr(spec, "start") and getattr(spec, "pretrained", True) is not False


def adapter_of(spec: ModelSpec) -> Adapter | None:
    """Return the low-rank adapter that the model is trained through, or None: then all weights are."""
    adapter: Adapter | None = getattr(spec, "adapter", None)
    return adapter if adapter is not None and adapter.r > 0 else None


def is_four_bit(spec: ModelSpec) -> bool:
    """Return whether the model's weights are the pretrained ones in 4 bits, whatever is learned beside them."""
    return bool(getattr(spec, "load_in_4bit", False))


def started(spec: ModelSpec, info: DataInfo) -> nn.Module:
    """Return the model as it stands before training; random weights come from torch's global generator."""
    if is_pretrained(spec):
        model: nn.Module = cast(Any, spec).start(info)
        return model
    return spec.build(info)


def incompetent(spec: ModelSpec, info: DataInfo) -> nn.Module:
    """Return a model that knows nothing of the training data: random weights, or a language model's pretrained ones."""
    return started(spec, info) if "text" in spec.kinds else spec.build(info)


def trainable(spec: ModelSpec, model: nn.Module) -> nn.Module:
    """Return the prepared model ready to be trained: with a fresh adapter on frozen weights, or as it is."""
    adapter = adapter_of(spec)
    if adapter is None:
        return model.requires_grad_(True)
    from unlearnbench.models.adapter import attach

    return attach(model, adapter)


def model_without_checkpoint(model: object) -> object:
    """Return the model's configuration as a retrained model has it: a checkpoint is the original's alone."""
    fields = {field.name for field in dataclasses.fields(model)} if dataclasses.is_dataclass(model) else set()
    return dataclasses.replace(model, checkpoint=None) if "checkpoint" in fields else model  # type: ignore[type-var]
