"""Losses that methods share: pure functions of predictions that return one value per example, (n,).

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


def summed_loss(predictions: Predictions) -> Tensor:
    """Cross-entropy of each example, summed over its rows, nats, (n,) float32."""
    return predictions.summed(functional.cross_entropy(predictions.logits, predictions.labels, reduction="none"))


def npo(model: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Negative preference optimisation from the summed losses (n,) of model and reference, (n,) float64.

    -(2 / beta) log sigmoid(beta (l_model - l_reference)): Zhang et al. 2024, arXiv:2404.05868.
    """
    return -(2 / beta) * functional.logsigmoid(beta * (model - reference)).double()


def simnpo(model: Tensor, rows: Tensor, beta: float, delta: float) -> Tensor:
    """Reference-free NPO on the loss per row, from summed losses (n,) and numbers of rows (n,), (n,) float64.

    -(2 / beta) log sigmoid(beta (l / rows - delta)): Fan et al. 2024, arXiv:2410.07163.
    """
    return -(2 / beta) * functional.logsigmoid(beta * (model / rows - delta)).double()


def dpo(winning: tuple[Tensor, Tensor], losing: tuple[Tensor, Tensor], beta: float) -> Tensor:
    """Direct preference optimisation from summed losses (n,) of (model, reference) on two answers, (n,) float64.

    -(2 / beta) log sigmoid(beta [(l_ref - l)_win - (l_ref - l)_lose]): Rafailov et al. 2023, eq. 7, arXiv:2305.18290,
    with the factor 2 of NPO.
    """
    gain = (winning[1] - winning[0]) - (losing[1] - losing[0])
    return -(2 / beta) * functional.logsigmoid(beta * gain).double()


def undial(model: Predictions, reference: Tensor, beta: float) -> Tensor:
    """Cross-entropy to the reference's softmax with `beta` taken off the label's logit, (n,) float64, rows averaged.

    `reference` (m, c) are logits. Dong et al. 2024, arXiv:2402.10052; prompt and padding do not count.
    """
    lowered = reference - beta * functional.one_hot(model.labels, reference.shape[1]).to(reference.dtype)
    target = torch.softmax(lowered, dim=1)
    return model.averaged(functional.cross_entropy(model.logits, target, reduction="none"))


def wga(predictions: Predictions, beta: float) -> Tensor:
    """Weighted gradient ascent: -p^beta CE, the weight p^beta held fixed, (n,) float64, rows averaged.

    Wang et al. 2025, arXiv:2502.19301.
    """
    loss = functional.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    return predictions.averaged(-(torch.exp(-loss.detach()) ** beta) * loss)


def satimp(predictions: Predictions, beta1: float, beta2: float) -> Tensor:
    """Reweighted gradient ascent: -p^beta1 (1 - p)^beta2 CE, the weight held fixed, (n,) float64, rows averaged.

    Yang et al. 2025, arXiv:2505.11953.
    """
    loss = functional.cross_entropy(predictions.logits, predictions.labels, reduction="none")
    likely = torch.exp(-loss.detach())
    return predictions.averaged(-(likely**beta1) * (1 - likely) ** beta2 * loss)


def ceu(predictions: Predictions, skipped: int = 0) -> Tensor:
    """Cross-entropy to the model's own softmax without the label's logit, held fixed, (n,) float64, rows averaged.

    Yang 2025, CE-U, arXiv:2503.01224. The first `skipped` rows of each example count 0, but never its last one.
    """
    others = predictions.logits.detach().scatter(1, predictions.labels[:, None], -torch.inf)
    target = torch.softmax(others, dim=1)
    rows = functional.cross_entropy(predictions.logits, target, reduction="none")
    if skipped:
        counts = row_counts(predictions)
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[predictions.example]
        rows = rows * (place >= (counts - 1).clamp(max=skipped)[predictions.example])
    return predictions.averaged(rows)


def margin(predictions: Predictions) -> Tensor:
    """How far logits are from uniform: (highest - mean)^2, (n,) float64, rows averaged; 0 where all are equal.

    Entesari et al. 2025, arXiv:2506.05314.
    """
    above = predictions.logits.max(dim=1).values - predictions.logits.mean(dim=1)
    return predictions.averaged(above**2)


def row_counts(predictions: Predictions) -> Tensor:
    """Return the number of rows of each example, (n,) int64: 1 for an image, a text's answer tokens."""
    return predictions.summed(torch.ones_like(predictions.example))


def softened(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return softmax(logits / temperature), (m, c)."""
    return torch.softmax(logits / temperature, dim=1)
