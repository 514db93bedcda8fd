"""Gradients taken elsewhere: a step whose gradient is that of moved weights, as in sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from unlearnbench.training.stepper import Stepper


@contextmanager
def displaced(stepper: Stepper, by: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the stepper take one step inside the block, from its weights, down the gradient at the weights plus `by`.

    `by` has the shape of each parameter by name. The weights are put back, bit for bit, before the optimiser moves
    them.
    """
    parameters = dict(stepper.model.named_parameters())
    before = [(parameters[name], parameters[name].detach().clone()) for name in by]

    def put_back(*_step: object) -> None:
        with torch.no_grad():
            for parameter, own in before:
                parameter.copy_(own)

    hook = stepper.optimizer.register_step_pre_hook(put_back)
    try:
        with torch.no_grad():
            for name, shift in by.items():
                parameters[name].add_(shift)
        yield
    finally:
        hook.remove()
