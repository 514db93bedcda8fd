"""How important each weight is to what goes and to everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from unlearnbench.problem import Problem
from unlearnbench.techniques.gradients import ExampleLoss, batch_importance, example_importance

By = Literal["batch", "example"]
"""What importance averages over: gradients of batches, as common code has it, or of examples, as papers write it."""


def importances(
    model: nn.Module,
    loss: ExampleLoss,
    problem: Problem,
    size: int,
    by: By,
    of: Callable[[Tensor], Tensor] = torch.square,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the mean of `of(gradient)` over retain and forget together, and over forget alone, by parameter.

    With `by` batch it depends on which examples share a batch of `size`: retain ones in order, then forget ones. With
    `by` example it does not.
    """
    measure = batch_importance if by == "batch" else example_importance
    everything = np.concatenate([problem.retain, problem.forget])
    problem.record.examples += len(everything) + len(problem.forget)
    whole, part = (measure(model, loss, problem.plain(index, size), of) for index in (everything, problem.forget))
    return whole, part
