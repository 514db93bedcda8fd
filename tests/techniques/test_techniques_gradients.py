"""Gradients by example, some at a time, are those of batches of one."""

from __future__ import annotations

import copy

import pytest
import torch

from unlearnbench.machine.precision import Precision
from unlearnbench.techniques.gradients import example_gradients, example_importance
from unlearnbench.training.losses import cross_entropy


@pytest.fixture(params=["image", "text"])
def world(request, tiny_problem, text_problem, tiny, tiny_text):
    """Return a model, its problem and a loss of it."""
    problem = tiny_problem() if request.param == "image" else text_problem()
    model = copy.deepcopy((tiny if request.param == "image" else tiny_text).original)
    return model, problem, lambda batch: cross_entropy(problem.predict(model, batch))


def one_by_one(model, problem, index):
    """Return the gradients of batches of one, in float64, and the names of the parameters."""
    exact = copy.deepcopy(model).double().eval()
    names = [name for name, _ in exact.named_parameters()]
    found = []
    for batch in problem.plain(index, 1):
        if batch.inputs.is_floating_point():
            batch = type(batch)(batch.inputs.double(), batch.labels, batch.index)
            rows = torch.nn.functional.cross_entropy(exact(batch.inputs), batch.labels)
        else:
            logits = exact(input_ids=batch.inputs).logits[0, :-1]
            rows = torch.nn.functional.cross_entropy(logits, batch.labels[0, 1:])
        found.append(torch.autograd.grad(rows, list(exact.parameters())))
    return names, found


def test_importance_is_the_mean_square_of_lone_gradients(world):
    model, problem, loss = world
    index = problem.retain[:7]
    names, slopes = one_by_one(model, problem, index)
    found = example_importance(model, loss, problem.plain(index, 4))
    assert list(found) == names
    for name, parts in zip(names, zip(*slopes, strict=True), strict=True):
        expected = torch.stack(parts).square().mean(dim=0)
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


def test_parts_of_any_size_give_the_same_sum(world, monkeypatch):
    model, problem, loss = world
    index = problem.retain[:7]
    whole = example_importance(model, loss, problem.plain(index, 7))
    count = sum(one.numel() for one in model.parameters())
    monkeypatch.setattr("unlearnbench.techniques.gradients.MEMORY", 3 * count)
    sizes = [size for size, _ in example_gradients(model, loss, problem.plain(index, 7))]
    assert sizes == [3, 3, 1]
    for name, value in example_importance(model, loss, problem.plain(index, 7)).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-5 * float(value.max()))


def test_frozen_weights_have_no_gradient_by_example(world):
    model, problem, loss = world
    frozen = next(name for name, _ in model.named_parameters())
    model.get_parameter(frozen).requires_grad_(False)
    assert frozen not in example_importance(model, loss, problem.plain(problem.retain[:2], 2))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_half_precision_changes_little(kind, tiny, tiny_text, monkeypatch):
    world = tiny if kind == "image" else tiny_text
    found = []
    for bf16 in (False, True):
        monkeypatch.setattr(world.task, "precision", Precision("cpu", bf16=bf16))
        batches = [world.task.batch(world.splits.retain[:7], None)]
        model = copy.deepcopy(world.original)
        found.append(example_importance(model, lambda one, m=model: cross_entropy(world.task.predict(m, one)), batches))
    for name, value in found[0].items():
        assert found[1][name].dtype == torch.float32
        assert float((found[1][name] - value).abs().max()) < 0.2 * float(value.max())
