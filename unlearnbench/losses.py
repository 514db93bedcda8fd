"""Losses that methods share: pure functions of predictions, with rows averaged in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unlearnbench.problem import Predictions


def cross_entropy(predictions: Predictions, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy over the rows, nats, a scalar."""
    total = functional.cross_entropy(
        predictions.logits, predictions.labels, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / _rows(predictions)


def kl_to_teacher(student: Predictions, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over rows of KL(teacher || student), nats, a scalar; `teacher` (m, c) is softmax(logits / temperature)."""
    log_student = functional.log_softmax(student.logits / temperature, dim=1)
    return functional.kl_div(log_student, teacher, reduction="sum") / _rows(student)


def summed_loss(predictions: Predictions) -> Tensor:
    """Cross-entropy of each example, summed over its rows, nats, (n,)."""
    rows = functional.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    return rows.new_zeros(predictions.examples).index_add(0, predictions.example, rows)


def npo(model: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Negative preference optimisation from summed losses (n,) of model and reference, a scalar mean over examples.

    -(2 / beta) log sigmoid(beta (l_model - l_reference)): Zhang et al. 2024, eq. 3, arXiv:2404.05868.
    """
    return -(2 / beta) * functional.logsigmoid(beta * (model - reference)).mean()


def _rows(predictions: Predictions) -> float:
    """The number of rows in the batch; of a part of it, the share that its examples stand for."""
    return predictions.examples * predictions.rows_per_example


def softened(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return softmax(logits / temperature), (m, c)."""
    return torch.softmax(logits / temperature, dim=1)
