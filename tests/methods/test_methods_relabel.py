"""Random labels, amnesiac and SalUn: a fact from each paper, and numbers by a naive loop."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional

from unlearnbench.errors import UserError
from unlearnbench.methods.amnesiac import Amnesiac
from unlearnbench.methods.random_label import RandomLabel
from unlearnbench.methods.salun import Salun, largest, soft_threshold
from unlearnbench.request.config import build, config_root
from unlearnbench.tasks.image import ImageTask
from unlearnbench.techniques.relabel import relabelled
from unlearnbench.training.optimizer import Optimizer
from worlds import SGD, assert_near, same_weights

DECAY = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=0.1)
ADAM = Optimizer(name="adam", lr=1e-3)
EPOCHS = {"epochs": 2, "batch_size": 64, "batch_norm": "train"}


def salun(**changes):
    values = {**EPOCHS, "mask": "hard", "share": 0.5, "labels": "any", "retain_weight": 1.0, "optimizer": DECAY}
    return Salun(**{**values, **changes})


@pytest.fixture
def seen(monkeypatch):
    """Record the labels of each forget example (class 0) that a method trains on, in order."""
    found = {}
    plain = ImageTask.batch

    def batch(self, index, generator, *rest):
        made = plain(self, index, generator, *rest)
        for place, label in zip(index.tolist(), made.labels.tolist(), strict=True):
            found.setdefault(place, []).append(label)
        return made

    monkeypatch.setattr(ImageTask, "batch", batch)
    return found


def test_random_labels_are_drawn_anew_in_each_epoch(tiny_problem, original, seen):
    problem = tiny_problem()
    RandomLabel(**{**EPOCHS, "epochs": 4}, labels="any", retain_weight=1.0, optimizer=SGD)(original, problem)
    labels = np.array([seen[place] for place in problem.forget.tolist()])
    assert labels.shape[1] == 4
    assert (labels != labels[:, :1]).any()
    assert (labels == 0).any()  # a random label can be the true one
    own = problem.task.answers(problem.retain)
    assert all(set(seen[place]) == {label} for place, label in zip(problem.retain.tolist(), own, strict=True))


def test_amnesiac_never_draws_the_true_label_and_keeps_what_it_drew(tiny_problem, original, seen):
    problem = tiny_problem()
    Amnesiac(**{**EPOCHS, "epochs": 3}, optimizer=ADAM)(original, problem)
    labels = np.array([seen[place] for place in problem.forget.tolist()])
    assert (labels == labels[:, :1]).all()
    assert set(labels[:, 0].tolist()) == {1, 2, 3}


def test_amnesiac_takes_the_naive_step_on_the_labels_it_drew_and_on_all_of_retain(tiny_problem, original, seen):
    problem, start = tiny_problem(), copy.deepcopy(original).double().train()
    once = {"epochs": 1, "batch_size": 1000, "batch_norm": "train", "optimizer": Optimizer(name="sgd", lr=0.1)}
    model = Amnesiac(**once)(original, problem)
    index = np.concatenate([problem.forget, problem.retain])
    drawn = [seen[place][0] for place in problem.forget.tolist()]
    labels = drawn + problem.task.data.labels[problem.retain].tolist()
    rows = start((problem.task.data.images[index].double() / 255 - 0.5) / 0.25).log_softmax(dim=1)
    loss = -sum(row[label] for row, label in zip(rows, labels, strict=True)) / len(index)
    slopes = torch.autograd.grad(loss, list(start.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(start.parameters(), slopes, strict=True):
            parameter -= 0.1 * slope
    assert_near(model, start)
    assert max(drawn.count(label) for label in (1, 2, 3)) < len(drawn) / 2  # no label is preferred


def test_random_label_one_step_is_the_gradient_of_the_weighted_mean(tiny_problem, original):
    problem = tiny_problem()
    index = np.concatenate([problem.forget, problem.retain])
    task = relabelled(problem.task, problem.forget, "wrong", problem.seed, 0)
    batch = task.batch(index, None)
    start = copy.deepcopy(original).double().train()
    rows = zip(start(batch.inputs.double()), batch.labels, strict=True)
    losses = [functional.cross_entropy(row, label) for row, label in rows]
    weights = [1.0] * len(problem.forget) + [0.25] * len(problem.retain)
    total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / len(index)
    slopes = torch.autograd.grad(total, list(start.parameters()))
    once = {"epochs": 1, "batch_size": 1000, "batch_norm": "train", "optimizer": Optimizer(name="sgd", lr=0.1)}
    model = RandomLabel(**once, labels="wrong", retain_weight=0.25)(original, problem)
    for now, before, slope in zip(model.parameters(), start.parameters(), slopes, strict=True):
        torch.testing.assert_close(now, (before - 0.1 * slope).float(), atol=2e-6, rtol=1e-4)


def test_salun_leaves_other_weights_bit_equal_with_momentum_and_decay(tiny_problem, original, tiny):
    problem = tiny_problem()
    slopes = naive_slopes(copy.deepcopy(original), problem)
    model = salun(share=0.3)(original, problem)
    gamma = torch.cat([slope.flatten() for slope in slopes]).abs().sort(descending=True).values
    gamma = gamma[round(0.3 * len(gamma)) - 1]
    moved, salient = 0, 0
    for now, before, slope in zip(model.parameters(), tiny.original.parameters(), slopes, strict=True):
        fixed = slope.abs() < 0.999 * gamma
        assert (now[fixed] == before[fixed]).all()
        moved += int((now != before).sum())
        salient += int((slope.abs() >= gamma).sum())
    assert 0.9 * salient < moved <= 1.01 * salient


def naive_slopes(model, problem):
    """Return the gradient of the mean cross-entropy over the forget set in evaluation mode, by a loop."""
    model.eval()
    batch = problem.task.batch(problem.forget, None)
    loss = sum(
        functional.cross_entropy(model(image[None]), label[None])
        for image, label in zip(batch.inputs, batch.labels, strict=True)
    )
    return torch.autograd.grad(loss / len(batch), list(model.parameters()))


@pytest.mark.parametrize("mask", ["hard", "soft"])
def test_salun_with_all_weights_is_random_label(mask, tiny_problem, original):
    other = copy.deepcopy(original)
    one = salun(share=1.0, mask=mask)(original, tiny_problem())
    same = RandomLabel(**EPOCHS, labels="any", retain_weight=1.0, optimizer=DECAY)(other, tiny_problem())
    assert same_weights(one, same)


def test_salun_masks_the_share_of_all_weights_together():
    values = {"a": torch.tensor([[0.1, -5.0], [0.2, 0.0]]), "b": torch.tensor([3.0, -0.3])}
    masks = largest(values, 0.5)
    assert masks["a"].tolist() == [[False, True], [False, False]]
    assert masks["b"].tolist() == [True, True]
    equal = largest({"a": torch.zeros(10)}, 0.3)
    assert int(equal["a"].sum()) == 3


def test_salun_soft_shrinks_each_move_and_puts_a_share_back():
    start = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0]])]
    weights = [nn.Parameter(torch.tensor([1.1, 1.5])), nn.Parameter(torch.tensor([[3.2, 5.0]]))]
    soft_threshold(weights, start, 0.5)  # moves .1, -.5, .2, 1: the half that moved least moved up to .2
    torch.testing.assert_close(weights[0].data, torch.tensor([1.0, 1.7]))
    torch.testing.assert_close(weights[1].data, torch.tensor([[3.0, 4.8]]))
    assert weights[0][0] == start[0][0]
    unmoved = weights[0].detach().clone()
    soft_threshold(weights, start, 0.0)
    assert (weights[0] == unmoved).all()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("salun.Salun", {"share": 0.0}),
        ("salun.Salun", {"share": 1.5}),
        ("salun.Salun", {"mask": "medium"}),
        ("random_label.RandomLabel", {"labels": "false"}),
        ("boundary_shrink.BoundaryShrink", {"step": 0.0}),
        ("unsir.Unsir", {"retain_share": 0.0}),
    ],
)
def test_bad_settings_are_refused(name, changes):
    file = config_root() / "method" / f"{name.partition('.')[0]}.yaml"
    values = dict(OmegaConf.to_container(OmegaConf.load(file)))
    with pytest.raises(UserError, match=next(iter(changes))):
        build({**values, **changes}, "method")
