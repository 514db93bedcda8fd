"""UNSIR: what its noise is, what comes of it, and its steps by hand."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from unlearnbench.methods.unsir import Unsir
from unlearnbench.training.optimizer import Optimizer
from worlds import assert_near

STILL = Optimizer(name="sgd", lr=1e-30)
ADAM = Optimizer(name="adam", lr=1e-3)
FAST = Optimizer(name="adam", lr=1e-2)


def unsir(**changes):
    values = {
        "noises": 16, "noise_steps": 10, "penalty": 0.1, "repeats": 4, "retain_share": 1.0, "batch_size": 64,
        "batch_norm": "train", "noise": Optimizer(name="adam", lr=0.1), "impair": ADAM, "repair": ADAM,
    }  # fmt: skip
    return Unsir(**{**values, **changes})


def without_two_classes(tiny, tiny_problem):
    """Make a problem in which two whole classes are to be forgotten."""
    labels, train = tiny.data.labels, tiny.splits.retain
    both = np.concatenate([tiny.splits.forget, train[labels[train] == 2]])
    return tiny_problem(forget=both, retain=train[labels[train] != 2])


def step(tensors, loss, lr):
    """Move tensors one step down a loss."""
    slopes = torch.autograd.grad(loss, tensors)
    with torch.no_grad():
        for one, slope in zip(tensors, slopes, strict=True):
            one -= lr * slope


def mean_ce(logits, labels):
    """The mean cross-entropy by its definition."""
    return -sum(row[label] for row, label in zip(logits.log_softmax(dim=1), labels, strict=True)) / len(labels)


def test_unsirs_noise_raises_the_loss_of_its_class(tiny_problem):
    problem = tiny_problem()
    noise = unsir(noise_steps=30).learned(problem)
    start = unsir(noise_steps=1, noise=STILL).learned(problem)
    with torch.no_grad():
        after, before = (functional.cross_entropy(problem.reference(one.inputs), one.labels) for one in (noise, start))
    assert after > before + 0.5
    assert set(noise.labels.tolist()) == {0}


def test_unsirs_noise_follows_adam_by_hand(tiny_problem):
    problem = tiny_problem()
    noise = unsir(noise_steps=3).learned(problem)
    x = nn.Parameter(unsir(noise_steps=1, noise=STILL).learned(problem).inputs)
    adam = torch.optim.Adam([x], lr=0.1)
    for _ in range(3):
        loss = (
            -functional.cross_entropy(problem.reference(x), noise.labels) + 0.1 * x.square().sum(dim=(1, 2, 3)).mean()
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.testing.assert_close(noise.inputs, x.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("repairs", [False, True])
def test_unsir_learns_noise_impairs_and_repairs_as_by_hand(repairs, tiny, tiny_problem, original):
    problem, seen = without_two_classes(tiny, tiny_problem), []
    problem.reference.register_forward_pre_hook(lambda _model, inputs: seen.append(inputs[0].detach().double()))
    start, exact = copy.deepcopy(original).double(), copy.deepcopy(original).double()
    model = unsir(
        noises=3, noise_steps=2, repeats=5, batch_size=1000, noise=Optimizer(name="sgd", lr=0.2),
        impair=Optimizer(name="sgd", lr=0.1), repair=Optimizer(name="sgd", lr=0.05) if repairs else STILL,
    )(original, problem)  # fmt: skip
    assert len(seen) == 2
    noise, labels = seen[0].requires_grad_(True), [0, 0, 0, 2, 2, 2]  # each class has its own label
    for _ in range(2):
        size = sum((image**2).sum() for image in noise) / len(noise)
        step([noise], 0.1 * size - mean_ce(exact(noise), labels), 0.2)
    kept = problem.task.batch(problem.retain, None)
    images = torch.cat([kept.inputs.double(), *[noise.detach()] * 5])
    weights = list(start.train().parameters())
    step(weights, mean_ce(start(images), [*kept.labels.tolist(), *labels * 5]), 0.1)
    step(weights, mean_ce(start(kept.inputs.double()), kept.labels), 0.05 * repairs)
    assert_near(model, start)


def test_unsirs_noise_starts_as_standard_normal(tiny_problem):
    noise = unsir(noises=100, noise_steps=1, noise=STILL).learned(tiny_problem()).inputs
    assert noise.shape == (100, 1, 8, 8)
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)


def test_unsir_spreads_its_noise_evenly_and_repairs_on_the_same_part_of_retain(tiny_problem, original):
    problem, seen = tiny_problem(), []
    original.register_forward_pre_hook(lambda _model, inputs: seen.append([one.numpy().tobytes() for one in inputs[0]]))
    method = unsir(noises=7, repeats=3, retain_share=0.5, batch_size=16)
    method(original, problem)
    noise = {one.numpy().tobytes() for one in method.learned(problem).inputs}
    impaired, repaired = seen[: len(seen) // 2], list(chain(*seen[len(seen) // 2 :]))
    each = [sum(one in noise for one in batch) for batch in impaired]
    assert len(each) > 1 and max(each) - min(each) <= 1
    assert sum(len(noise & set(batch)) for batch in impaired) > 15  # of 21; in order, one batch would show one thrice
    shown = Counter(chain(*impaired))
    assert {shown.pop(one) for one in noise} == {3}
    assert shown == Counter(repaired) and set(shown.values()) == {1}
    assert len(shown) == round(len(problem.retain) / 2)


def test_unsirs_classes_keep_their_own_labels(tiny, tiny_problem):
    noise = unsir().learned(without_two_classes(tiny, tiny_problem))
    assert noise.labels.tolist() == [0] * 16 + [2] * 16


def test_unsir_shows_each_noise_a_few_times_and_keeps_retain(tiny_problem, original):
    problem = tiny_problem()
    model = unsir(noise_steps=30, repeats=5, impair=FAST, repair=FAST)(original, problem)
    kept = problem.task.score(model, problem.retain)
    assert (kept.prediction == kept.label).mean() > 0.9
    learned, impaired, repaired = 16 * 30, 16 * 5 + len(problem.retain), len(problem.retain)
    assert problem.record.examples == learned + impaired + repaired


def test_unsir_forgets_whole_classes_only(tiny_problem):
    problem = tiny_problem()
    assert unsir().check(problem) is None
    reason = unsir().check(tiny_problem(retain=np.concatenate([problem.retain, problem.forget[5:]])))
    assert "forget=class" in (reason or "")
