"""Looking on while a method trains: how many steps it takes, and what the model is like after some of them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn

from unlearnbench.models.wrapper import inner
from unlearnbench.randomness import seeded

Look = Callable[[nn.Module, int, int], None]
"""Sees a model, how many steps were taken, and how many examples the method has looked at so far."""


class Watch:
    """Counts the optimiser steps on models of one kind, and calls `look` after those in `at`.

    `kind` is the class of the model that is unlearned: what a method optimises beside it, such as noise, is not
    counted. A look sees the model itself, in training mode, and changes no random stream.
    """

    def __init__(self, kind: type[nn.Module], at: Collection[int] = (), look: Look | None = None) -> None:
        self.kind, self.at, self.look = kind, frozenset(at), look
        self.steps = 0

    def stepped(self, model: nn.Module, examples: int) -> None:
        """Note that a stepper has taken a step on a model; `examples` were looked at in all."""
        if type(inner(model)) is not self.kind:
            return
        self.steps += 1
        if self.look is not None and self.steps in self.at:
            with seeded("watch", self.steps):
                self.look(model, self.steps, examples)
