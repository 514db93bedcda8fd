"""Losses of whole answers, and of how much less, or more, likely an answer is than under a reference.

They return one value per example, (n,), as those of training.losses do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unlearnbench.contracts import Predictions


def summed_loss(predictions: Predictions) -> Tensor:
    """Cross-entropy of each example, summed over its rows, nats, (n,) float32."""
    return predictions.summed(functional.cross_entropy(predictions.logits, predictions.labels, reduction="none"))


def npo(model: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Negative preference optimisation from the summed losses (n,) of model and reference, (n,) float64.

    -(2 / beta) log sigmoid(beta (l_model - l_reference)): Zhang et al. 2024, arXiv:2404.05868.
    """
    return -(2 / beta) * functional.logsigmoid(beta * (model - reference)).double()


def dpo(winning: tuple[Tensor, Tensor], losing: tuple[Tensor, Tensor], beta: float) -> Tensor:
    """Direct preference optimisation from summed losses (n,) of (model, reference) on two answers, (n,) float64.

    -(2 / beta) log sigmoid(beta [(l_ref - l)_win - (l_ref - l)_lose]): Rafailov et al. 2023, eq. 7, arXiv:2305.18290,
    with the factor 2 of NPO.
    """
    gain = (winning[1] - winning[0]) - (losing[1] - losing[0])
    return -(2 / beta) * functional.logsigmoid(beta * gain).double()


def row_counts(predictions: Predictions) -> Tensor:
    """Return the number of rows of each example, (n,) int64: 1 for an image, a text's answer tokens."""
    return predictions.summed(torch.ones_like(predictions.example))
