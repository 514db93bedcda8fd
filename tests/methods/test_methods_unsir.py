"""UNSIR: what its noise is, and what comes of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from unlearnbench.methods.unsir import Unsir
from unlearnbench.training.optimizer import Optimizer

ADAM = Optimizer(name="adam", lr=1e-3)
FAST = Optimizer(name="adam", lr=1e-2)


def unsir(**changes):
    values = {
        "noises": 16, "noise_steps": 10, "penalty": 0.1, "repeats": 4, "retain_share": 1.0, "batch_size": 64,
        "batch_norm": "train", "noise": Optimizer(name="adam", lr=0.1), "impair": ADAM, "repair": ADAM,
    }  # fmt: skip
    return Unsir(**{**values, **changes})


def test_unsirs_noise_raises_the_loss_of_its_class(tiny_problem):
    problem = tiny_problem()
    noise = unsir(noise_steps=30).learned(problem)
    start = unsir(noise_steps=1, noise=Optimizer(name="sgd", lr=1e-9)).learned(problem)
    with torch.no_grad():
        after, before = (functional.cross_entropy(problem.reference(one.inputs), one.labels) for one in (noise, start))
    assert after > before + 0.5
    assert set(noise.labels.tolist()) == {0}


def test_unsirs_noise_follows_adam_by_hand(tiny_problem):
    problem = tiny_problem()
    noise = unsir(noise_steps=3).learned(problem)
    x = nn.Parameter(unsir(noise_steps=1, noise=Optimizer(name="sgd", lr=1e-30)).learned(problem).inputs)
    adam = torch.optim.Adam([x], lr=0.1)
    for _ in range(3):
        loss = (
            -functional.cross_entropy(problem.reference(x), noise.labels) + 0.1 * x.square().sum(dim=(1, 2, 3)).mean()
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.testing.assert_close(noise.inputs, x.detach(), atol=1e-4, rtol=1e-4)


def test_unsirs_classes_keep_their_own_labels(tiny_problem, tiny):
    labels = tiny.data.labels
    train = tiny.splits.retain
    both = np.concatenate([tiny.splits.forget, train[labels[train] == 2]])
    problem = tiny_problem(forget=both, retain=train[labels[train] != 2])
    noise = unsir().learned(problem)
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
