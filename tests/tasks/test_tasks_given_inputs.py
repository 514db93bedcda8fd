"""A task runs a model on given floats, and shows what its classifier gets."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=["image", "text"])
def case(request, tiny_problem, text_problem):
    """Return a problem and a batch of its forget examples."""
    problem = {"image": tiny_problem, "text": text_problem}[request.param]()
    return problem, problem.task.batch(problem.forget[:5], None)


def test_the_batch_s_own_floats_give_its_predictions(case):
    problem, batch = case
    expected = problem.predict(problem.reference, batch).logits
    floats = problem.inputs(problem.reference, batch)
    torch.testing.assert_close(problem.predict(problem.reference, batch, floats).logits, expected)


def test_a_gradient_reaches_the_given_floats(case):
    problem, batch = case
    floats = problem.inputs(problem.reference, batch).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(problem.predict(problem.reference, batch, floats).logits.sum(), floats)
    assert slope.shape == floats.shape
    assert (slope != 0).any()


def test_the_classifier_turns_its_features_into_the_logits(case):
    problem, batch = case
    head = problem.reference.get_submodule(problem.task.head)
    predictions, features = problem.features(problem.reference, batch)
    assert len(features) == len(predictions.logits)
    torch.testing.assert_close(head(features), predictions.logits)
