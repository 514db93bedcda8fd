"""Training of some weights only: the others keep their values bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unlearnbench.training.stepper import Stepper


@contextmanager
def only(stepper: Stepper, masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Let the stepper move only the weights whose mask is true inside the block.

    `masks` are bool, in the shape of the parameter of that name; a parameter without a mask moves freely. Held weights
    have no gradient and no momentum, and weight decay does not reach them.
    """
    parameters = dict(stepper.model.named_parameters())
    held = [(parameters[name], ~mask, parameters[name].detach().clone()) for name, mask in masks.items()]

    def put_back(optimizer: torch.optim.Optimizer, *_step: object) -> None:
        with torch.no_grad():
            for parameter, fixed, before in held:
                parameter.copy_(torch.where(fixed, before, parameter))
                for value in optimizer.state[parameter].values():
                    if isinstance(value, Tensor) and value.shape == fixed.shape:
                        value.masked_fill_(fixed, 0.0)

    def without(fixed: Tensor, slope: Tensor) -> Tensor:
        return slope.masked_fill(fixed, 0.0)

    hooks: list[Any] = [one.register_hook(partial(without, fixed)) for one, fixed, _ in held]  # type: ignore[no-untyped-call]
    hooks.append(stepper.optimizer.register_step_post_hook(put_back))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
