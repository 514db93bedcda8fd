"""A teacher is asked once for each example, unless the example or the teacher changes from step to step."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from unlearnbench.data.images import Augment
from unlearnbench.methods.npo import Npo
from unlearnbench.models.modes import alike
from unlearnbench.techniques import remembered as module
from unlearnbench.techniques.preferences import summed_loss
from unlearnbench.techniques.remembered import reference_losses, reference_softmax, remembered
from unlearnbench.training.losses import softened
from unlearnbench.training.optimizer import Optimizer


def asked(problem):
    """Make the reference note how many examples it is given; return the notes."""
    notes = []
    problem.reference.register_forward_pre_hook(
        lambda model, inputs, named: notes.append(len(named["input_ids"] if named else inputs[0])), with_kwargs=True
    )
    return notes


def looked_at(problem, index):
    return problem.task.batch(np.ascontiguousarray(index), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("most", [2**30, 9000, 0], ids=["room", "some room", "no room"])
def test_rows_of_every_batch_are_those_of_the_reference(text_problem, monkeypatch, most):
    monkeypatch.setattr(module, "MOST", most)
    problem = text_problem()
    losses, softmax = reference_losses(problem, 2), reference_softmax(problem, 2, 2.0)
    places = problem.retain[:12]
    lengths = {int((one != -100).sum()) for one in looked_at(problem, places).labels}
    assert len(lengths) > 1  # so rows must be cut as their examples are
    for some in (places[:5], places[3:9], places[::-1], places[[4, 4, 0]]):
        batch = looked_at(problem, some)
        predictions = problem.predict(problem.reference, batch)
        torch.testing.assert_close(losses(batch), summed_loss(predictions), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(softmax(batch), softened(predictions.logits, 2.0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_npo_asks_the_original_once_for_each_forget_question(text_problem, micro_batch):
    problem = text_problem()
    student = copy.deepcopy(problem.reference).requires_grad_(True)
    notes = asked(problem)
    learning = Optimizer(name="sgd", lr=0.01, micro_batch=micro_batch)
    npo = Npo(
        epochs=3, batch_size=8, batch_norm="frozen", beta=0.1, forget_weight=1.0, retain_weight=1.0, optimizer=learning
    )
    npo(student, problem)
    assert sum(notes) == len(problem.forget)


def test_what_has_room_is_kept_and_the_rest_is_asked_again(text_problem, monkeypatch):
    monkeypatch.setattr(module, "MOST", 512 * 3)  # three losses
    problem = text_problem()
    notes, losses, batch = asked(problem), reference_losses(problem, 2), looked_at(problem, problem.retain[:8])
    for _ in range(3):
        losses(batch)
    assert notes == [8, 5, 5]


def test_images_are_kept_where_nothing_augments_them_and_batch_norm_is_still(tiny_problem):
    still, mirrored = tiny_problem().task, copy.copy(tiny_problem().task)
    mirrored.dataset = replace(still.dataset, augment=Augment(crop=0, flip=True))
    cases = [(still, "frozen", 1), (still, "train", 3), (mirrored, "frozen", 3), (mirrored, "train", 3)]
    for task, batch_norm, times in cases:
        problem = tiny_problem(task=task)
        notes, softmax = asked(problem), reference_softmax(problem, 2)
        with alike(problem.reference, batch_norm):
            for _ in range(3):
                softmax(looked_at(problem, problem.retain[:6]))
        assert notes == [6] * times


def test_no_gradient_reaches_what_is_remembered(tiny_problem):
    problem = tiny_problem()
    problem.reference.requires_grad_(True)
    rows = remembered(problem, 2, lambda batch: problem.predict(problem.reference, batch).logits)
    assert not rows(looked_at(problem, problem.retain[:4])).requires_grad


def test_nothing_is_kept_for_one_epoch(text_problem):
    problem = text_problem()
    notes, losses, batch = asked(problem), reference_losses(problem, 1), looked_at(problem, problem.retain[:4])
    losses(batch)
    losses(batch)
    assert notes == [4, 4]


def test_batch_norm_without_running_statistics_is_asked_at_each_step(tiny_problem):
    problem = tiny_problem()
    (layer, *_) = [one for one in problem.reference.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    layer.running_mean = layer.running_var = None
    notes, softmax, batch = asked(problem), reference_softmax(problem, 2), looked_at(problem, problem.retain[:4])
    softmax(batch)
    softmax(batch)
    assert notes == [4, 4]
