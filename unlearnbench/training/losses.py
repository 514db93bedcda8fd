"""Losses that methods share: pure functions of predictions, with rows averaged in float32.

Those of summed losses take the batch's `weight` too: a part of a batch then counts as it should.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unlearnbench.contracts import Predictions


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


def npo(model: Tensor, reference: Tensor, beta: float, weight: float = 1.0) -> Tensor:
    """Negative preference optimisation from summed losses (n,) of model and reference, a scalar mean over examples.

    -(2 / beta) log sigmoid(beta (l_model - l_reference)): Zhang et al. 2024, eq. 3, arXiv:2404.05868.
    """
    return -(2 / beta) * weight * functional.logsigmoid(beta * (model - reference)).mean()


def simnpo(model: Tensor, rows: Tensor, beta: float, delta: float, weight: float = 1.0) -> Tensor:
    """Reference-free NPO on the loss per row, from summed losses (n,) and numbers of rows (n,), a scalar.

    -(2 / beta) log sigmoid(beta (l / rows - delta)): Fan et al. 2024, arXiv:2410.07163.
    """
    return -(2 / beta) * weight * functional.logsigmoid(beta * (model / rows - delta)).mean()


def dpo(winning: tuple[Tensor, Tensor], losing: tuple[Tensor, Tensor], beta: float, weight: float = 1.0) -> Tensor:
    """Direct preference optimisation from summed losses (n,) of (model, reference) on two answers, a scalar.

    -(2 / beta) log sigmoid(beta [(l_ref - l)_win - (l_ref - l)_lose]): Rafailov et al. 2023, eq. 7, arXiv:2305.18290,
    with the factor 2 of NPO.
    """
    gain = (winning[1] - winning[0]) - (losing[1] - losing[0])
    return -(2 / beta) * weight * functional.logsigmoid(beta * gain).mean()


def undial(model: Predictions, reference: Tensor, beta: float) -> Tensor:
    """Cross-entropy to the reference's softmax with `beta` taken off the label's logit, mean over rows, a scalar.

    `reference` (m, c) are logits. Dong et al. 2024, arXiv:2402.10052; only answers count, where common code forgets it.
    """
    lowered = reference - beta * functional.one_hot(model.labels, reference.shape[1]).to(reference.dtype)
    target = torch.softmax(lowered, dim=1)
    return functional.cross_entropy(model.logits, target, reduction="sum") / _rows(model)


def wga(predictions: Predictions, beta: float) -> Tensor:
    """Weighted gradient ascent: -mean over rows of p^beta CE, the weight p^beta held fixed, a scalar.

    Wang et al. 2025, arXiv:2502.19301.
    """
    loss = functional.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    return -(torch.exp(-loss.detach()) ** beta * loss).sum() / _rows(predictions)


def ceu(predictions: Predictions) -> Tensor:
    """Cross-entropy to the model's own softmax without the label's logit, held fixed, mean over rows, a scalar.

    Yang 2025, CE-U, arXiv:2503.01224.
    """
    others = predictions.logits.detach().scatter(1, predictions.labels[:, None], -torch.inf)
    target = torch.softmax(others, dim=1)
    return functional.cross_entropy(predictions.logits, target, reduction="sum") / _rows(predictions)


def _rows(predictions: Predictions) -> float:
    """What a mean over rows divides by: their number; in a part of a batch, what makes the parts' means add up."""
    return predictions.examples * predictions.rows_per_example / predictions.weight


def softened(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return softmax(logits / temperature), (m, c)."""
    return torch.softmax(logits / temperature, dim=1)
