"""Held weights stay bit for bit; gradients without a step are those of autograd."""

from __future__ import annotations

import copy

import pytest
import torch

from unlearnbench.techniques.gradients import batch_importance, mean_gradient
from unlearnbench.techniques.held import only
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from worlds import SGD

ADAMW = Optimizer(name="adamw", lr=1e-2, weight_decay=0.1)
DECAYING = Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=0.1)


@pytest.mark.parametrize("optimizer", [DECAYING, ADAMW], ids=["sgd", "adamw"])
def test_held_weights_and_their_momentum_stay(optimizer, tiny_problem, original):
    problem, before = tiny_problem(), copy.deepcopy(original)
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(one.shape, generator=generator) < 0.5 for name, one in original.named_parameters()}
    batches = problem.batches(problem.retain, size=32, epochs=1)
    stepper = problem.stepper(original, optimizer, batches.steps)
    with only(stepper, masks):
        stepper.descend(lambda batch: cross_entropy(problem.predict(original, batch)), batches)
    for (name, now), then in zip(original.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(now[~masks[name]], then[~masks[name]])
        assert not torch.equal(now[masks[name]], then[masks[name]])
        for state in stepper.optimizer.state[now].values():
            assert state.shape != now.shape or not state[~masks[name]].any()


def test_all_weights_move_again_after_the_block(tiny_problem, original):
    problem, before = tiny_problem(), copy.deepcopy(original)
    batches = problem.batches(problem.retain, size=32, epochs=2)
    stepper = problem.stepper(original, SGD, batches.steps)
    with only(stepper, {name: torch.zeros_like(one, dtype=torch.bool) for name, one in original.named_parameters()}):
        stepper.descend(lambda batch: cross_entropy(problem.predict(original, batch)), batches)
    assert all(map(torch.equal, original.parameters(), before.parameters()))
    stepper.descend(lambda batch: cross_entropy(problem.predict(original, batch)), batches)
    assert not all(map(torch.equal, original.parameters(), before.parameters()))


def test_gradients_are_those_of_a_naive_loop(tiny_problem, original):
    problem = tiny_problem()

    def loss(batch):
        return cross_entropy(problem.predict(original, batch))

    index = problem.forget[:50]
    whole = torch.autograd.grad(loss(problem.task.batch(index, None)).mean(), list(original.eval().parameters()))
    parts = [torch.autograd.grad(loss(batch).mean(), list(original.parameters())) for batch in problem.plain(index, 20)]
    mean = mean_gradient(original, loss, problem.plain(index, 20))
    squares = batch_importance(original, loss, problem.plain(index, 20))
    for place, (name, _) in enumerate(original.named_parameters()):
        torch.testing.assert_close(mean[name], whole[place], rtol=1e-4, atol=1e-6)
        expected = torch.stack([one[place] ** 2 for one in parts]).mean(dim=0)
        torch.testing.assert_close(squares[name], expected, rtol=1e-4, atol=1e-8)
