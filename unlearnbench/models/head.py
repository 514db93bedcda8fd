"""Dropout before a classifier that adds no name to the state dict."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

Dropout = Annotated[float, Field(ge=0, lt=1)]
"""The share of a classifier's inputs to drop in training."""


class Dropped(nn.Linear):
    """A linear layer with dropout on its input."""

    share: float

    def forward(self, x: Tensor) -> Tensor:
        """Map features (n, d) to logits (n, c).

        In training, drop a random share of the features first.
        """
        return super().forward(functional.dropout(x, self.share, self.training))


def dropped(linear: nn.Linear, share: float) -> nn.Linear:
    """Return the layer with dropout on its input, sharing its weights.

    At a share of 0, the layer itself.
    """
    if not share:
        return linear
    head = Dropped(linear.in_features, linear.out_features, device="meta")
    head.weight, head.bias, head.share = linear.weight, linear.bias, share
    return head
