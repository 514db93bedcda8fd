"""Losses as pure functions of predictions, with one value per example, (n,).

The stepper averages them over the batch. A method may multiply them by its weights and add those of one batch up.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unlearnbench.contracts import Predictions

Losses = Tensor | tuple[Tensor, ...]
"""What a loss returns: one value per example, (n,), of its batch, or a tuple with such a tensor for each batch."""


def cross_entropy(predictions: Predictions, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each example, nats, (n,) float64; its mean over a batch is the mean over the batch's rows."""
    rows = functional.cross_entropy(
        predictions.logits, predictions.labels, label_smoothing=label_smoothing, reduction="none"
    )
    return predictions.averaged(rows)


def kl_to_teacher(student: Predictions, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of each example, nats, (n,) float64, averaged over rows as `cross_entropy`.

    `teacher` (m, c) is softmax(logits / temperature).
    """
    log_student = functional.log_softmax(student.logits / temperature, dim=1)
    return student.averaged(functional.kl_div(log_student, teacher, reduction="none").sum(dim=1))


def softened(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return softmax(logits / temperature), (m, c)."""
    return torch.softmax(logits / temperature, dim=1)
