"""Parts of a model: which they are, freezing them, and giving them another model's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from unlearnbench.contracts import Parts


def last(parts: Parts, count: int) -> tuple[str, ...]:
    """Return the names of the head and of the last `count` blocks, from input to output."""
    return (*parts.blocks[max(len(parts.blocks) - count, 0) :], parts.head)


def train_only(model: nn.Module, names: Iterable[str]) -> None:
    """Let only the parameters of these submodules learn."""
    model.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)


def reset(model: nn.Module, fresh: nn.Module, names: Iterable[str]) -> None:
    """Copy the parameters and buffers of these submodules from a fresh model of the same kind."""
    with torch.no_grad():
        for name in names:
            ours, theirs = (one.get_submodule(name) for one in (model, fresh))
            ours.load_state_dict(theirs.state_dict())


def freeze_before(model: nn.Module, parts: Parts, count: int) -> None:
    """Let no parameter before the last `count` blocks learn; a weight that is shared with such a layer stays too."""
    for module in _split(model, parts, count)[0]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)


def reset_from(model: nn.Module, fresh: nn.Module, parts: Parts, count: int) -> None:
    """Copy the parameters and buffers of the last `count` blocks and all after them from a fresh model.

    A weight that is shared with a layer before them stays.
    """
    before, after = _split(model, parts, count)
    shared = {parameter for module in before for parameter in module.parameters(recurse=False)}
    with torch.no_grad():
        for ours, theirs in zip(after, _split(fresh, parts, count)[1], strict=True):
            values = dict(theirs.named_parameters(recurse=False)) | dict(theirs.named_buffers(recurse=False))
            for name, value in (*ours.named_parameters(recurse=False), *ours.named_buffers(recurse=False)):
                if value not in shared:
                    value.copy_(values[name])


def _split(model: nn.Module, parts: Parts, count: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the modules before the last `count` blocks, and those from there on, the head among them.

    Modules are in the order in which the model defines them, so a norm belongs to the block that it follows. With all
    blocks nothing comes before.
    """
    blocks, modules = _single(model, parts), list(model.modules())
    if count >= len(blocks):
        return [], modules
    start = next(place for place, module in enumerate(modules) if module is blocks[-count])
    return modules[:start], modules[start:]


def _single(model: nn.Module, parts: Parts) -> list[nn.Module]:
    """Return the blocks one by one: a block that is a list of layers counts as those that hold a matrix or filters."""
    found: list[nn.Module] = []
    for name in parts.blocks:
        block = _named(model, name)
        layers = list(block) if isinstance(block, nn.ModuleList | nn.Sequential) else [block]
        found += [layer for layer in layers if any(one.dim() > 1 for one in layer.parameters())]
    return found


def _named(model: nn.Module, name: str) -> nn.Module:
    """Return a submodule by its name; an adapter puts something in front of it."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    return modules[name] if name in modules else next(one for key, one in modules.items() if key.endswith(f".{name}"))
