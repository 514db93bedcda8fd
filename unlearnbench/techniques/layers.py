"""The layers of a model that methods change by hand: its convolutions, its weight matrices, its first layer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Return the two-dimensional convolutions by name, from input to output."""
    return {name: one for name, one in model.named_modules() if isinstance(one, nn.Conv2d)}


def weighted(model: nn.Module) -> list[nn.Module]:
    """Return the convolutions and linear layers whose weights can learn; of layers that share a weight, the first."""
    found: dict[int, nn.Module] = {}
    for one in model.modules():
        if isinstance(one, (_ConvNd, nn.Linear)) and one.weight.requires_grad:
            found.setdefault(id(one.weight), one)
    return list(found.values())


def first_layer(model: nn.Module) -> str:
    """Return the name of the first layer with weights: a stem's convolution, or the embeddings."""
    for name, module in model.named_modules():
        if not list(module.children()) and list(module.parameters()):
            return str(name)
    raise ValueError("a model without weights has no first layer")


def add_noise(weights: Iterable[Tensor], scale: float) -> None:
    """Add Gaussian noise of this standard deviation to the weights, in place; it is torch's global generator's."""
    with torch.no_grad():
        for weight in weights:
            weight.add_(scale * torch.randn_like(weight))
