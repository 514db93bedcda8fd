"""How a model is trained from its start."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnbench.ranges import Count, Share
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained from its start: the original on all data, a retrained one on the retain set.

    `compile` has torch.compile translate the model first: minutes at the beginning, faster steps after it.
    """

    epochs: Count
    batch_size: Count
    label_smoothing: Share
    optimizer: Optimizer
    compile: bool = False
