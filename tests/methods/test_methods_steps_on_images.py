"""One step of jit, duck, amun, cf_k and eu_k on images is the naive step; so is amun's search, image by image."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from unlearnbench.methods.amun import Amun
from unlearnbench.methods.cf_k import CfK
from unlearnbench.methods.duck import Duck
from unlearnbench.methods.eu_k import EuK
from unlearnbench.methods.jit import Jit
from unlearnbench.training.optimizer import Optimizer
from worlds import assert_near

ONE = {"epochs": 1, "batch_size": 1000, "optimizer": Optimizer(name="sgd", lr=0.05)}
"""One step on everything."""


def exact(model):
    """Return a copy in float64, in evaluation mode."""
    return copy.deepcopy(model).double().eval().requires_grad_(True)


def images(problem, index):
    """Return the normalised images at these positions in float64, (n, 1, 8, 8)."""
    return (problem.task.data.images[index].double() / 255 - 0.5) / 0.25


def step(model, loss, decay=0.0):
    """Move the weights that learn one step down a loss, and down their decay."""
    weights = [one for one in model.parameters() if one.requires_grad]
    slopes = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        for one, slope in zip(weights, slopes, strict=True):
            one -= 0.05 * (slope + decay * one)


def mean_ce(logits, labels):
    """The mean cross-entropy by its definition."""
    return -sum(row[label] for row, label in zip(logits.log_softmax(dim=1), labels, strict=True)) / len(labels)


def same_rows(some, others):
    """Return whether two sets of images are the same, in any order."""
    distances = torch.cdist(some.flatten(1).double(), others.flatten(1).double())
    return len(some) == len(others) and max(distances.amin(dim=dim).max() for dim in (0, 1)) < 1e-3


@pytest.mark.parametrize("detach", [True, False])
def test_jit_steps_down_the_change_of_the_output_per_size_of_the_noise(detach, tiny_problem, original):
    whole, seen = tiny_problem(), []
    problem, start = tiny_problem(forget=whole.forget[:12]), exact(original)
    hook = original.register_forward_pre_hook(lambda _model, inputs: seen.append(inputs[0].detach().double()))
    model = Jit(**ONE, batch_norm="frozen", copies=3, noise=0.5, detach=detach)(original, problem)
    hook.remove()
    noisy, clean = sorted(seen, key=len, reverse=True)
    assert same_rows(clean, images(problem, problem.forget))
    noise = noisy.view(3, 12, 1, 8, 8) - clean
    assert float(noise.std()) == pytest.approx(0.5 * float(clean.std()), rel=0.03)
    assert torch.pdist(noise.flatten(0, 1).flatten(1)).min() > 1  # each copy of each image has its own
    total = 0.0
    for copy_ in noise:
        for image, change in zip(clean, copy_, strict=True):
            moved = start((image + change)[None])
            away = start(image[None]) - (moved.detach() if detach else moved)
            total = total + (away**2).sum().sqrt() / (change**2).sum().sqrt() / (3 * 12)
    step(start, total)
    assert_near(model, start)


def test_duck_steps_towards_the_nearest_wrong_centroid_and_down_the_tempered_loss(tiny_problem, original):
    mixed = np.random.default_rng(0).permutation(tiny_problem().task.data.train)  # classes are in both parts
    problem, start = tiny_problem(forget=mixed[:20], retain=mixed[20:]), exact(original)
    weights = {"forget_weight": 0.7, "retain_weight": 1.4, "temperature": 2.0, "early_stop": False}
    model = Duck(**ONE, batch_norm="frozen", **weights)(original, problem)

    def features(index):
        hidden = functional.relu(start.bn1(start.conv1(images(problem, index))))
        return functional.relu(start.bn2(start.conv2(hidden))).mean(dim=(2, 3))

    labels = problem.task.data.labels
    with torch.no_grad():
        centroids = [features(problem.retain[labels[problem.retain] == k]).mean(dim=0) for k in range(4)]
    away = 0.0
    for z, label in zip(features(problem.forget), labels[problem.forget], strict=True):
        wrong = [mu for k, mu in enumerate(centroids) if k != label]
        away = away + min(1 - (z * mu).sum() / (z.norm() * mu.norm()) for mu in wrong) / 20
    kept = mean_ce(start(images(problem, problem.retain)) / 2.0, labels[problem.retain])
    step(start, 0.7 * away + 1.4 * kept)
    assert_near(model, start)


@pytest.mark.parametrize("kind", [CfK, EuK])
def test_the_last_block_takes_the_naive_step_from_where_it_starts(kind, tiny_problem, original):
    problem, before, start = tiny_problem(), copy.deepcopy(original.state_dict()), exact(original)
    if kind is EuK:  # new weights and statistics in the last block and the classifier
        fresh = problem.start()
        for name in ("conv2", "bn2", "linear"):
            start.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
    optimizer = Optimizer(name="sgd", lr=0.05, weight_decay=0.1)
    model = kind(**{**ONE, "optimizer": optimizer}, blocks=1, batch_norm="train")(original, problem)
    start.bn2.train()
    for layer in (start.conv1, start.bn1):
        layer.requires_grad_(False)
    step(start, mean_ce(start(images(problem, problem.retain)), problem.task.answers(problem.retain)), decay=0.1)
    assert_near(model, start)
    first = {name: value for name, value in model.state_dict().items() if name.startswith(("conv1", "bn1"))}
    assert len(first) == 7 and all(torch.equal(value, before[name]) for name, value in first.items())


def adversarial(model, pixels, label, radius, steps, doublings):
    """Return where projected gradient ascent from an image's pixels (1, 8, 8) ends, and the class seen there."""
    now = pixels
    for doubling in range(doublings):
        eps = radius * 2**doubling
        for _ in range(steps):
            now = now.detach().requires_grad_(True)
            logits = model(((now - 0.5) / 0.25)[None])[0]
            if int(logits.argmax()) != label:
                return now.detach(), int(logits.argmax())
            (slope,) = torch.autograd.grad(-logits.log_softmax(dim=0)[label], now)
            with torch.no_grad():
                away = now + 0.1 * eps * slope / slope.norm() - pixels
                now = (pixels + away * min(1.0, eps / float(away.norm()))).clamp(0, 1)
    return now.detach(), int(model(((now - 0.5) / 0.25)[None])[0].argmax())


@pytest.mark.parametrize("with_forget", [False, True])
def test_amun_steps_on_retain_and_the_adversarial_examples_of_a_naive_search(with_forget, tiny_problem, original):
    whole, seen = tiny_problem(), []
    forget, (start, frozen) = whole.forget[:12], (exact(original).train(), exact(original))
    task = whole.task.answering(forget[:1], np.array([2]))  # one image that the original gets wrong
    problem = tiny_problem(forget=forget, task=task)
    pixels = task.data.images[forget].double() / 255
    pairs = zip(pixels, task.labels[forget].tolist(), strict=True)
    found = [adversarial(frozen, one, label, 0.15, 15, 2) for one, label in pairs]
    moved = (torch.stack([one for one, _ in found]) - 0.5) / 0.25
    far = (moved - images(problem, forget)).flatten(1).norm(dim=1) / 4  # in pixels
    assert far[0] == 0 and {label for _, label in found[1:]} == {0, 1, 2, 3}  # 0 where the search does not succeed
    assert far[1:].min() < 0.15 < far.max()
    original.register_forward_pre_hook(lambda _model, inputs: seen.append(inputs[0].detach()))
    method = Amun(**ONE, batch_norm="train", radius=0.15, steps=15, doublings=2, with_forget=with_forget)
    model = method(original, problem)
    assert same_rows(seen[0][-12:], moved)
    others = np.concatenate([problem.retain, forget]) if with_forget else problem.retain
    logits = start(torch.cat([images(problem, others), moved]))
    step(start, mean_ce(logits, [*task.labels[others].tolist(), *[label for _, label in found]]))
    assert_near(model, start)


def test_amun_shows_each_adversarial_example_once_an_epoch_spread_over_the_batches(tiny_problem, original):
    problem, seen = tiny_problem(), []
    original.register_forward_pre_hook(lambda _model, inputs: seen.append([one.numpy().tobytes() for one in inputs[0]]))
    Amun(
        **{**ONE, "epochs": 2, "batch_size": 16}, batch_norm="train", radius=0.2, steps=2, doublings=1,
        with_forget=False,
    )(original, problem)  # fmt: skip
    retain = {one.numpy().tobytes() for one in problem.task.batch(problem.retain, None).inputs}
    for epoch in (seen[: len(seen) // 2], seen[len(seen) // 2 :]):
        shown = [one for batch in epoch for one in batch]
        assert len(shown) == len(set(shown)) == len(problem.retain) + len(problem.forget)
        each = [len(set(batch) - retain) for batch in epoch]
        assert len(each) > 3 and max(each) - min(each) <= 1
    assert set(seen[0]) - retain != set(seen[len(seen) // 2]) - retain  # another order in each epoch
