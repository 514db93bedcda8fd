"""A 0/1 mask over a layer's units: part of the model, saved and loaded with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

NAME = "unit_mask"


def _apply(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output * module.get_buffer(NAME)


def attach(model: nn.Module, layer: str, mask: Tensor) -> None:
    """Multiply the named submodule's output by `mask` from now on, broadcast over the batch."""
    module = model.get_submodule(layer)
    if hasattr(module, NAME):
        module.get_buffer(NAME).mul_(mask)
        return
    module.register_buffer(NAME, mask)
    module.register_forward_hook(_apply)


def is_mask(name: str) -> bool:
    """Return whether an entry of a state dict is a mask."""
    return name.rpartition(".")[2] == NAME


def restore(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Attach the masks in a state dict, so that it fits the model."""
    for name, tensor in state.items():
        if is_mask(name):
            attach(model, name.rpartition(".")[0], tensor.clone().to(next(model.parameters()).device))
