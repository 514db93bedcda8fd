"""The losses of language methods, in float64, against values worked out apart, and against naive loops."""

from __future__ import annotations

import math

import pytest
import torch

from unlearnbench.contracts import Predictions
from unlearnbench.methods import ceu, pdu, satimp, simnpo, undial, wga
from unlearnbench.techniques import preferences
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


def mean(values: torch.Tensor) -> float:
    return float(values.mean())


def supervised():
    """Yield each supervised row of the model, its label, and its place in the answer."""
    for logits, labels in zip(MODEL.tolist(), LABELS, strict=True):
        places = [place for place in range(1, len(labels)) if labels[place] != -100]
        for number, place in enumerate(places):
            yield logits[place - 1], labels[place], number


def test_summed_losses():
    assert preferences.summed_loss(predictions(MODEL)).tolist() == pytest.approx([12.208942221, 10.636672534], **CLOSE)
    assert preferences.summed_loss(predictions(REFERENCE)).tolist() == pytest.approx(
        [10.877057129, 9.858433834], **CLOSE
    )


def test_mean_cross_entropy():
    assert mean(losses.cross_entropy(predictions(MODEL))) == pytest.approx(2.855701844, **CLOSE)


def test_npo():
    model, reference = preferences.summed_loss(predictions(MODEL)), preferences.summed_loss(predictions(REFERENCE))
    assert mean(preferences.npo(model, reference, 0.1)) == pytest.approx(12.837608102, **CLOSE)


def test_dpo():
    pairs = [
        (preferences.summed_loss(predictions(MODEL, labels)), preferences.summed_loss(predictions(REFERENCE, labels)))
        for labels in (WINNING, LABELS)
    ]
    assert mean(preferences.dpo(pairs[0], pairs[1], 0.1)) == pytest.approx(13.768713193, **CLOSE)


def test_simnpo():
    found = simnpo.simnpo(preferences.summed_loss(predictions(MODEL)), torch.tensor([4, 4]), 2.5, 0.0)
    assert mean(found) == pytest.approx(7.12453286e-4, **CLOSE)


def test_undial_counts_answers_alone():
    found = undial.undial(predictions(MODEL), predictions(REFERENCE).logits, 10.0)
    assert mean(found) == pytest.approx(1.586873222, **CLOSE)


def test_wga():
    assert mean(wga.wga(predictions(MODEL), 1.0)) == pytest.approx(-0.194922877, **CLOSE)


def test_satimp():
    rows = [(ce(row, label), softmax(row)[label]) for row, label, _ in supervised()]
    naive = -sum(p**5 * (1 - p) * loss for loss, p in rows) / len(rows)
    assert mean(satimp.satimp(predictions(MODEL), 5.0, 1.0)) == pytest.approx(naive, abs=1e-12)
    assert mean(satimp.satimp(predictions(MODEL), 0.0, 0.0)) == pytest.approx(-2.855701844, **CLOSE)
    assert mean(satimp.satimp(predictions(MODEL), 1.0, 0.0)) == pytest.approx(-0.194922877, **CLOSE)


def test_margin_is_zero_where_all_logits_are_equal():
    naive = [(max(row) - sum(row) / len(row)) ** 2 for row, _, _ in supervised()]
    assert mean(pdu.margin(predictions(MODEL))) == pytest.approx(sum(naive) / len(naive), abs=1e-12)
    assert pdu.margin(predictions(torch.ones_like(MODEL))).tolist() == [0.0, 0.0]


def test_ceu_without_the_first_token_of_each_answer():
    """The skipped rows count 0; an example's only row counts."""
    naive = sum(without_label(row, label, None) for row, label, place in supervised() if place) / 8
    assert mean(ceu.ceu(predictions(MODEL), 1)) == pytest.approx(naive, abs=1e-12)
    single = predictions(MODEL, [[-100, 3, *[-100] * 4], [-100, 4, *[-100] * 4]])
    assert ceu.ceu(single, 9).tolist() == ceu.ceu(single).tolist()


def test_ceu():
    assert mean(ceu.ceu(predictions(MODEL))) == pytest.approx(1.389258983, **CLOSE)


def test_npo_with_small_beta_has_the_gradient_of_ascent():
    model = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    preferences.npo(model, torch.tensor([2.0, 2.0], dtype=torch.float64), 1e-6).mean().backward()
    assert model.grad.tolist() == pytest.approx([-0.5, -0.5], abs=1e-6)  # of -mean(l)


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def ce(row: list[float], label: int) -> float:
    return -math.log(softmax(row)[label])


def smoothed(row, label, _other):
    return 0.8 * ce(row, label) + 0.2 * sum(ce(row, one) for one in range(len(row))) / len(row)


def divergence(row, _label, other):
    teacher, student = softmax([value / 2 for value in other]), softmax([value / 2 for value in row])
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def lowered(row, label, other):
    target = softmax([value - 3.0 * (place == label) for place, value in enumerate(other)])
    return sum(p * ce(row, place) for place, p in enumerate(target))


def without_label(row, label, _other):
    rest = [place for place in range(len(row)) if place != label]
    target = softmax([row[place] for place in rest])
    return sum(p * ce(row, place) for place, p in zip(rest, target, strict=True))


ROWS = {
    "cross_entropy": (lambda ours, theirs: losses.cross_entropy(ours, 0.2), smoothed),
    "kl_to_teacher": (lambda ours, theirs: losses.kl_to_teacher(ours, losses.softened(theirs, 2.0), 2.0), divergence),
    "undial": (lambda ours, theirs: undial.undial(ours, theirs, 3.0), lowered),
    "wga": (
        lambda ours, theirs: wga.wga(ours, 0.7),
        lambda row, label, _other: -(softmax(row)[label] ** 0.7) * ce(row, label),
    ),
    "ceu": (lambda ours, theirs: ceu.ceu(ours), without_label),
}
COUNTS = (3, 1, 0, 4)
"""Supervised rows of each example of a batch: one may have none."""


def uneven() -> tuple[Predictions, torch.Tensor]:
    """Random rows of examples with different numbers of them, and another model's logits for the same rows."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(sum(COUNTS), 5, dtype=torch.float64, generator=generator) for _ in range(2))
    labels = torch.randint(5, (sum(COUNTS),), generator=generator)
    example = torch.repeat_interleave(torch.arange(len(COUNTS)), torch.tensor(COUNTS))
    return Predictions(ours, labels, example, len(COUNTS), sum(COUNTS) / len(COUNTS)), theirs


@pytest.mark.parametrize("name", ROWS)
def test_a_loss_averaged_over_rows_equals_a_naive_loop(name):
    loss, naive = ROWS[name]
    ours, theirs = uneven()
    expected = [0.0] * len(COUNTS)
    rows = zip(ours.logits.tolist(), ours.labels.tolist(), theirs.tolist(), ours.example.tolist(), strict=True)
    values = [(example, naive(row, label, other)) for row, label, other, example in rows]
    for example, value in values:
        expected[example] += value / ours.rows_per_example
    found = loss(ours, theirs)
    assert found.dtype == torch.float64 and found.tolist() == pytest.approx(expected, abs=1e-12)
    assert mean(found) == pytest.approx(sum(value for _, value in values) / len(values), abs=1e-12)


def test_a_loss_on_whole_examples_equals_a_naive_loop():
    ours, theirs = uneven()
    other = Predictions(theirs, ours.labels, ours.example, ours.examples, ours.rows_per_example)
    model, reference = preferences.summed_loss(ours).tolist(), preferences.summed_loss(other).tolist()
    for number, count in enumerate(COUNTS):
        rows = [row for row, example in enumerate(ours.example.tolist()) if example == number]
        assert len(rows) == count
        for total, logits in ((model, ours.logits), (reference, theirs)):
            one = sum(ce(logits[row].tolist(), int(ours.labels[row])) for row in rows)
            assert total[number] == pytest.approx(one, abs=1e-12)

    def bounded(gain, beta):
        return 2 / beta * math.log(1 + math.exp(-beta * gain))

    pair = torch.tensor([model, reference], dtype=torch.float64)
    pairs = list(zip(model, reference, strict=True))
    assert preferences.npo(*pair, 0.3).tolist() == pytest.approx([bounded(m - r, 0.3) for m, r in pairs], abs=1e-12)
    assert simnpo.simnpo(pair[0], pair[1], 0.3, 0.5).tolist() == pytest.approx(
        [bounded(m / r - 0.5, 0.3) if r else math.nan for m, r in pairs], abs=1e-12, nan_ok=True
    )
    turned = (pair[1], pair[0])
    assert preferences.dpo(tuple(pair), turned, 0.3).tolist() == pytest.approx(
        [bounded(2 * (r - m), 0.3) for m, r in pairs], abs=1e-12
    )


def test_parts_of_a_batch_add_up_to_its_mean():
    whole, _ = uneven()
    values = losses.cross_entropy(whole)
    found = []
    for number in range(len(COUNTS)):
        mine = whole.example == number
        piece = Predictions(whole.logits[mine], whole.labels[mine], whole.example[mine] * 0, 1, whole.rows_per_example)
        found += losses.cross_entropy(piece).tolist()
    assert found == pytest.approx(values.tolist(), abs=1e-12)
