"""Boundary shrink and expand: neighbours and steps by a naive loop, and a class that comes and goes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from unlearnbench.methods.boundary_expand import BoundaryExpand, wider
from unlearnbench.methods.boundary_shrink import BoundaryShrink
from unlearnbench.training.optimizer import Optimizer
from worlds import SGD, assert_near

EPOCHS = {"epochs": 2, "batch_size": 64, "batch_norm": "frozen"}
MOMENTUM = Optimizer(name="sgd", lr=0.05, momentum=0.9)


def neighbours_look_like(problem, step):
    """Return the class that the original sees in the FGSM neighbour of each forget image, one by one."""
    found = []
    for place in problem.forget.tolist():
        pixels = problem.task.data.images[place][None].float() / 255
        pixels.requires_grad_(True)
        loss = functional.cross_entropy(problem.reference((pixels - 0.5) / 0.25), torch.tensor([0]))
        (slope,) = torch.autograd.grad(loss, pixels)
        neighbour = (pixels + step * slope.sign()).clamp(0, 1)
        found.append(int(problem.reference((neighbour - 0.5) / 0.25).argmax()))
    return found


def two_steps(model, problem, labels):
    """Move the model in evaluation mode: two steps down the mean cross-entropy of the forget set with these labels."""
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images = (problem.task.data.images[problem.forget].double() / 255 - 0.5) / 0.25
    for _ in range(2):
        rows = zip(model.eval()(images).log_softmax(dim=1), labels, strict=True)
        sgd.zero_grad()
        (-sum(row[label] for row, label in rows) / len(labels)).backward()
        sgd.step()


def test_boundary_shrink_labels_are_what_the_fgsm_neighbours_look_like(tiny_problem, original):
    problem = tiny_problem()
    method = BoundaryShrink(**EPOCHS, step=0.3, optimizer=SGD)
    expected = neighbours_look_like(problem, 0.3)
    assert method.labels(problem).tolist() == expected
    assert set(expected) - {0}
    method(original, problem)
    left = np.mean(np.array(expected) != 0)
    assert problem.record.tables["neighbours"] == [{"step": 0.3, "left_the_class": left}]


def test_boundary_shrink_steps_towards_the_neighbours_classes(tiny_problem, original):
    problem, start = tiny_problem(), copy.deepcopy(original).double()
    two_steps(start, problem, neighbours_look_like(problem, 0.8))  # so far that black and white are reached
    method = BoundaryShrink(**{**EPOCHS, "batch_size": 1000}, step=0.8, optimizer=MOMENTUM)
    assert_near(method(original, problem), start)


def test_boundary_expand_steps_towards_the_added_class_and_drops_it(tiny_problem, original):
    problem, start, seen = tiny_problem(), copy.deepcopy(original).double(), []
    original.linear.register_forward_pre_hook(lambda layer, _inputs: seen.append(copy.deepcopy(layer).double()))
    model = BoundaryExpand(**{**EPOCHS, "batch_size": 1000}, optimizer=MOMENTUM)(original, problem)
    assert len(seen) == 2 and seen[0].bias[4] == 0  # the head with five outputs, before the first step
    before, start.linear = start.linear, nn.Linear(32, 5).double()
    with torch.no_grad():
        start.linear.weight.copy_(torch.cat([before.weight, seen[0].weight[4:]]))
        start.linear.bias.copy_(torch.cat([before.bias, torch.zeros(1)]))
    two_steps(start, problem, [4] * len(problem.forget))
    start.linear.weight, start.linear.bias = (nn.Parameter(one[:4]) for one in start.linear.parameters())
    assert_near(model, start)


def test_the_added_output_starts_with_glorots_variance():
    torch.manual_seed(0)
    linear, added = nn.Linear(4, 3), []
    for _ in range(3000):
        with wider(linear):
            added.append(linear.weight[3].detach())
    assert float(torch.cat(added).mean()) == pytest.approx(0, abs=0.015)
    assert float(torch.cat(added).std()) == pytest.approx((2 / (4 + 4)) ** 0.5, rel=0.02)


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
