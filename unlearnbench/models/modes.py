"""Training and evaluation modes: which statistics batch norm uses, and dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from unlearnbench.models.head import Dropped

BatchNorm = Literal["train", "frozen"]
"""Batch norm in training: `train` uses each batch's statistics and updates the running ones; `frozen` keeps these."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A model's settings in training; its weights, batch norm's included, learn in every mode.

    Batch norm whose own weights are frozen keeps its running statistics too, whatever the mode.
    """

    batch_norm: BatchNorm = "train"
    dropout: bool = True

    def enter(self, model: nn.Module) -> None:
        """Put the model into training mode, except frozen batch norm and dropout that is off."""
        model.train()
        for module in model.modules():
            still = isinstance(module, _BatchNorm) and (self.batch_norm == "frozen" or _is_frozen(module))
            if still or (_drops(module) and not self.dropout):
                module.training = False  # only its own flag: its children have their own


TRAINING = Mode()
"""Like PyTorch's own `model.train()`."""


@contextmanager
def alike(reference: nn.Module | None, batch_norm: BatchNorm) -> Iterator[None]:
    """Make a frozen model's batch norm use the same kind of statistics as its student.

    Its buffers do not change: torch leaves them alone when `track_running_stats` is off.
    """
    modules = reference.modules() if reference is not None and batch_norm == "train" else ()
    layers = [(one, one.training, one.track_running_stats) for one in modules if isinstance(one, _BatchNorm)]
    for layer, _, _ in layers:
        layer.training, layer.track_running_stats = True, False
    try:
        yield
    finally:
        for layer, training, tracks in layers:
            layer.training, layer.track_running_stats = training, tracks


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode inside the block, then restore each module's own mode."""
    was_training, modes = model.training, [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)  # a module may do more here than set a flag
        for module, training in modes:
            module.training = training


def needs_company(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> bool:
    """Return whether training fails on a single example (c, h, w); it does not where `shape` is empty, for text.

    Batch norm over one-pixel maps needs two. `build` returns a model that may be changed.
    """
    if not shape:
        return False
    try:
        with torch.no_grad():
            build().train()(torch.zeros(1, *shape))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return True
    return False


def _is_frozen(module: nn.Module) -> bool:
    """Return whether a module has weights of its own, and none of them learns."""
    learning = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
    return bool(learning) and not any(learning)


def _drops(module: nn.Module) -> bool:
    """Return whether a module drops at random, by type or by a rate that it holds.

    The last are layers of language models that drop inside their forward pass, at a rate of their own or of their
    `config`; under gradient checkpointing such a layer has to stay in training mode.
    """
    rates = (value for name, value in vars(module).items() if "dropout" in name)
    own = any(isinstance(rate, float) and rate > 0 for rate in rates)
    own |= hasattr(module, "config") and not getattr(module, "gradient_checkpointing", False)
    return own or isinstance(module, (_DropoutNd, Dropped)) or hasattr(module, "drop_prob")
