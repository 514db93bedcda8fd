"""Weights by label: rare labels may count more, so that no class is repaired at another's cost."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.training.losses import cross_entropy


def label_weights(batches: Iterable[Batch], power: float) -> Tensor | None:
    """Return each label's weight, (labels,) float32: its count to the power of -`power`, scaled to a mean row of 1.

    A power of 1 gives every label the same say; 0 gives every row the same, for which None is enough.
    """
    if power == 0:
        return None
    rows = torch.cat([batch.labels[batch.labels >= 0] for batch in batches])
    counts = torch.bincount(rows).double()
    weights = torch.where(counts > 0, counts.clamp(min=1) ** -power, 0.0)
    return (weights * len(rows) / (weights * counts).sum()).float()


def weighted_cross_entropy(predictions: Predictions, weights: Tensor | None) -> Tensor:
    """Cross-entropy of each example, nats, (n,) float64, each row times its label's weight; None weighs all alike."""
    if weights is None:
        return cross_entropy(predictions)
    rows = functional.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    return predictions.averaged(weights[predictions.labels] * rows)
