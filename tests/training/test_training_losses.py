"""The losses of language methods, in float64, against values worked out apart, and against naive loops."""

from __future__ import annotations

import math

import pytest
import torch

from unlearnbench.contracts import Predictions
from unlearnbench.training import losses

LABELS = [[-100, -100, 3, 1, 5, 2], [-100, 4, 0, 6, 2, -100]]
WINNING = [[-100, -100, 6, 6, 0, 1], [-100, 2, 2, 5, 1, -100]]
CLOSE = {"abs": 1e-8, "rel": 0}


def grid(first: float, second: float, third: float, wave: object) -> torch.Tensor:
    rows = [
        [[2 * wave(first * (b + 1) + second * t + third * v) for v in range(7)] for t in range(6)] for b in range(2)
    ]
    return torch.tensor(rows, dtype=torch.float64)


MODEL, REFERENCE = grid(0.7, 1.3, 0.9, math.sin), grid(0.5, 1.1, 0.6, math.cos)


def predictions(logits: torch.Tensor, labels: list[list[int]] = LABELS) -> Predictions:
    """Shift by one and keep the supervised rows, as the text task does."""
    wanted = torch.tensor(labels)
    row, place = (wanted[:, 1:] != -100).nonzero(as_tuple=True)
    return Predictions(logits[row, place], wanted[row, place + 1], row, 2, len(row) / 2)


def test_summed_losses():
    assert losses.summed_loss(predictions(MODEL)).tolist() == pytest.approx([12.208942221, 10.636672534], **CLOSE)
    assert losses.summed_loss(predictions(REFERENCE)).tolist() == pytest.approx([10.877057129, 9.858433834], **CLOSE)


def test_mean_cross_entropy():
    assert float(losses.cross_entropy(predictions(MODEL))) == pytest.approx(2.855701844, **CLOSE)


def test_npo():
    model, reference = losses.summed_loss(predictions(MODEL)), losses.summed_loss(predictions(REFERENCE))
    assert float(losses.npo(model, reference, 0.1)) == pytest.approx(12.837608102, **CLOSE)


def test_dpo():
    pairs = [
        (losses.summed_loss(predictions(MODEL, labels)), losses.summed_loss(predictions(REFERENCE, labels)))
        for labels in (WINNING, LABELS)
    ]
    assert float(losses.dpo(pairs[0], pairs[1], 0.1)) == pytest.approx(13.768713193, **CLOSE)


def test_simnpo():
    found = losses.simnpo(losses.summed_loss(predictions(MODEL)), torch.tensor([4, 4]), 2.5, 0.0)
    assert float(found) == pytest.approx(7.12453286e-4, **CLOSE)


def test_undial_counts_answers_alone():
    found = losses.undial(predictions(MODEL), predictions(REFERENCE).logits, 10.0)
    assert float(found) == pytest.approx(1.586873222, **CLOSE)


def test_wga():
    assert float(losses.wga(predictions(MODEL), 1.0)) == pytest.approx(-0.194922877, **CLOSE)


def test_ceu():
    assert float(losses.ceu(predictions(MODEL))) == pytest.approx(1.389258983, **CLOSE)


def test_npo_with_small_beta_has_the_gradient_of_ascent():
    model = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    losses.npo(model, torch.tensor([2.0, 2.0], dtype=torch.float64), 1e-6).backward()
    assert model.grad.tolist() == pytest.approx([-0.5, -0.5], abs=1e-6)  # of -mean(l)


def test_parts_of_a_batch_add_up_to_its_mean():
    whole = predictions(MODEL[:, :5], [[-100, -100, 3, 1, 5], [-100, 4, -100, -100, -100]])
    assert whole.rows_per_example == 2.0
    parts = [
        Predictions(whole.logits[mine], whole.labels[mine], whole.example[mine] * 0, 1, whole.rows_per_example)
        for mine in (whole.example == 0, whole.example == 1)
    ]
    together = sum(float(losses.cross_entropy(part)) for part in parts) / 2
    assert together == pytest.approx(float(losses.cross_entropy(whole)), abs=1e-12)
