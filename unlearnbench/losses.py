"""Losses that methods share: pure functions of predictions, with rows averaged in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unlearnbench.problem import Predictions


def cross_entropy(predictions: Predictions, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over the rows, nats, a scalar."""
    return functional.cross_entropy(predictions.logits, predictions.labels, label_smoothing=label_smoothing)


def kl_to_teacher(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over rows of KL(teacher || student), nats, a scalar.

    `student` (m, c) are logits and `teacher` (m, c) probabilities, already at this temperature.
    """
    log_student = functional.log_softmax(student / temperature, dim=1)
    return functional.kl_div(log_student, teacher, reduction="batchmean")


def softened(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return softmax(logits / temperature), (m, c)."""
    return torch.softmax(logits / temperature, dim=1)
