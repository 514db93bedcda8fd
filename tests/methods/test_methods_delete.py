"""DELETE: the original without the true class, by a naive loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from unlearnbench.contracts import Predictions
from unlearnbench.methods.delete import Delete, without_label
from worlds import SGD


def test_delete_imitates_the_others_ratios_without_the_true_class():
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 4), torch.tensor([0, 3, 1, 1, 2])
    target = without_label(Predictions(logits, labels, torch.arange(5), 5))
    for row, label, found in zip(logits.tolist(), labels.tolist(), target.tolist(), strict=True):
        whole = sum(math.exp(value) for column, value in enumerate(row) if column != label)
        expected = [0.0 if column == label else math.exp(value) / whole for column, value in enumerate(row)]
        assert found == pytest.approx(expected, rel=1e-5)
        assert found[label] == 0.0


@pytest.mark.parametrize("kind", ["image", "text"])
def test_delete_begins_at_the_true_answers_surprise(kind, tiny_problem, text_problem, original, tiny_text):
    problem, model = (tiny_problem(), original) if kind == "image" else (text_problem(), tiny_text.original)
    batch = problem.task.batch(problem.forget, None)
    rows = problem.predict(model.eval(), batch)
    chance = rows.logits.double().softmax(dim=1).gather(1, rows.labels[:, None])
    loss = -(1 - chance).log().mean()  # KL between a distribution and itself without one class
    method = Delete(epochs=1, batch_size=1000, batch_norm="frozen", optimizer=SGD)
    method(copy.deepcopy(model), problem)
    assert problem.record.curve[0]["loss"] == pytest.approx(loss.item(), rel=1e-4)
