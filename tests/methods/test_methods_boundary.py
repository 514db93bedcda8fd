"""Boundary shrink and expand: neighbours by a naive loop, and a class that comes and goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from unlearnbench.methods.boundary_expand import BoundaryExpand, wider
from unlearnbench.methods.boundary_shrink import BoundaryShrink
from worlds import SGD

EPOCHS = {"epochs": 2, "batch_size": 64, "batch_norm": "frozen"}


def test_boundary_shrink_labels_are_what_the_fgsm_neighbours_look_like(tiny_problem, original):
    problem = tiny_problem()
    method = BoundaryShrink(**EPOCHS, step=0.3, optimizer=SGD)
    expected = []
    for place in problem.forget.tolist():
        pixels = problem.task.data.images[place][None].float() / 255
        pixels.requires_grad_(True)
        loss = functional.cross_entropy(problem.reference((pixels - 0.5) / 0.25), torch.tensor([0]))
        (slope,) = torch.autograd.grad(loss, pixels)
        neighbour = (pixels + 0.3 * slope.sign()).clamp(0, 1)
        expected.append(int(problem.reference((neighbour - 0.5) / 0.25).argmax()))
    assert method.labels(problem).tolist() == expected
    assert set(expected) - {0}
    method(original, problem)
    left = np.mean(np.array(expected) != 0)
    assert problem.record.tables["neighbours"] == [{"step": 0.3, "left_the_class": left}]


def test_boundary_expand_returns_the_original_number_of_outputs(tiny_problem, original, tiny):
    problem = tiny_problem()
    model = BoundaryExpand(**EPOCHS, optimizer=SGD)(original, problem)
    assert {name: one.shape for name, one in model.state_dict().items()} == {
        name: one.shape for name, one in tiny.original.state_dict().items()
    }
    head = model.get_submodule(problem.parts.head)
    assert (head.out_features, len(head.weight)) == (4, 4)
    assert (
        problem.task.score(model, problem.forget).loss.mean()
        > problem.task.score(tiny.original, problem.forget).loss.mean()
    )


@pytest.mark.parametrize("bias", [True, False])
def test_a_wider_layer_keeps_its_outputs_and_gains_one(bias):
    linear = nn.Linear(3, 4, bias=bias)
    x, weight = torch.randn(2, 3), linear.weight.detach().clone()
    before = linear(x)
    with wider(linear):
        assert linear(x).shape == (2, 5)
        torch.testing.assert_close(linear(x)[:, :4], before)
    assert torch.equal(linear.weight, weight)
    assert torch.equal(linear(x), before)


def test_boundary_expand_needs_a_linear_classifier(tiny_problem, original):
    method = BoundaryExpand(**EPOCHS, optimizer=SGD)
    problem = tiny_problem()
    assert method.check(problem) is None
    setattr(original, problem.parts.head, nn.Identity())
    assert "linear classifier" in method.check(tiny_problem(reference=original))
