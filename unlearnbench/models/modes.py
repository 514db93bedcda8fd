"""Training and evaluation, module by module: whose statistics batch norm uses, and whether dropout drops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from unlearnbench.models.head import Dropped

BatchNorm = Literal["train", "frozen"]
"""Batch norm in training: each batch's own statistics, which the running ones follow; or the running ones, kept."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How a model is set while it trains; its weights learn in every mode, those of batch norm too."""

    batch_norm: BatchNorm = "train"
    dropout: bool = True

    def enter(self, model: nn.Module) -> None:
        """Put the model into training mode, but for frozen batch norm and dropout that is off."""
        model.train()
        for module in model.modules():
            if (isinstance(module, _BatchNorm) and self.batch_norm == "frozen") or (
                _drops(module) and not self.dropout
            ):
                module.training = False  # its own flag alone: what is below it has its own


TRAINING = Mode()
"""As PyTorch's own `model.train()`."""


@contextmanager
def alike(reference: nn.Module | None, batch_norm: BatchNorm) -> Iterator[None]:
    """Let a frozen model's batch norm use the same statistics as that of a student in training, inside the block.

    Its buffers stay as they are: torch leaves them alone where `track_running_stats` is off.
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
    """Put the model into evaluation mode inside the block, and each of its modules back into its own mode."""
    was_training, modes = model.training, [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)  # a module may do more here than set a flag
        for module, training in modes:
            module.training = training


def needs_company(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Return whether training fails on one example (c, h, w) alone: batch norm over maps of one pixel needs two."""
    try:
        with torch.no_grad():
            model.train()(torch.zeros(1, *shape))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return True
    return False


def _drops(module: nn.Module) -> bool:
    """Return whether a module drops at random: torch's dropouts, a classifier's, timm's paths, and by a rate it holds.

    The last are layers of language models, which drop inside their own forward pass at a rate that they hold, or that
    their `config` does; one under gradient checkpointing must stay in training mode for it.
    """
    rates = (value for name, value in vars(module).items() if "dropout" in name)
    own = any(isinstance(rate, float) and rate > 0 for rate in rates)
    own |= hasattr(module, "config") and not getattr(module, "gradient_checkpointing", False)
    return own or isinstance(module, (_DropoutNd, Dropped)) or hasattr(module, "drop_prob")
