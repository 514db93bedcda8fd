"""Methods with several phases: they share the optimiser, the schedule and the numbering of shuffles."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.errors import Diverged
from unlearnbench.models.resnet import ResNet18
from unlearnbench.problem import Problem
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer
from worlds import same_weights

MOMENTUM = Optimizer(name="sgd", lr=0.02, momentum=0.9, schedule="linear", warmup=0.25)


@dataclass(frozen=True, kw_only=True)
class Alternate:
    """As SCRUB: some epochs up on forget, each followed by one down on retain, which go on alone."""

    up: int
    down: int
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs."""

        def impair(forget: Batch) -> Tensor:
            return -0.1 * cross_entropy(problem.predict(model, forget))

        def repair(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        forget = problem.batches(problem.forget, size=16, epochs=self.up)
        retain = problem.batches(problem.retain, size=64, epochs=self.down)
        stepper = problem.stepper(model, self.optimizer, forget.steps + retain.steps)
        for epoch in range(self.down):
            if epoch < self.up:
                stepper.descend(impair, forget)
            stepper.descend(repair, retain)
        return model


def by_hand(model: nn.Module, problem: Problem, *, forgetful: bool = False) -> list[float]:
    """Do what `Alternate(up=1, down=2)` says with torch alone; `forgetful` drops the momentum between the phases."""
    forget, retain = problem.batches(problem.forget, size=16), problem.batches(problem.retain, size=64)
    total = forget.steps + 2 * retain.steps
    rise = round(0.25 * total)
    rates = [(step + 1) / rise if step < rise else (total - step) / (total - rise) for step in range(total)]
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    steps = iter(rates)
    model.train()
    for number, (batches, weight) in enumerate(((forget, -0.1), (retain, 1.0), (retain, 1.0))):
        if forgetful:
            optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
        for (batch,) in batches.epoch(number):
            optimizer.param_groups[0]["lr"] = 0.02 * next(steps)
            optimizer.zero_grad()
            (weight * nn.functional.cross_entropy(model(batch.inputs), batch.labels)).backward()
            optimizer.step()
    assert next(steps, None) is None
    return [0.02 * rates[step] for step in (0, forget.steps, forget.steps + retain.steps)]


def far(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


def test_two_phases_share_the_momentum_the_schedule_and_the_shuffles(tiny_problem, original):
    ours, naive, without = (copy.deepcopy(original).requires_grad_(True) for _ in range(3))
    problem = tiny_problem()
    Alternate(up=1, down=2, optimizer=MOMENTUM)(ours, problem)
    rates = by_hand(naive, tiny_problem())
    assert far(ours, naive) < 1e-5
    by_hand(without, tiny_problem(), forgetful=True)
    assert far(ours, without) > 1e-3
    assert [row["lr"] for row in problem.record.curve] == pytest.approx(rates)
    assert [row["epoch"] for row in problem.record.curve] == [1.0, 2.0, 3.0]
    assert problem.record.examples == len(problem.forget) + 2 * len(problem.retain)


def test_two_trainings_of_one_method_number_their_epochs_through(tiny_problem, original):
    """So that a second one does not see the shuffles of the first again."""
    problem, seen = tiny_problem(), []

    def loss(batch: Batch) -> Tensor:
        seen.append(batch.index)
        return cross_entropy(problem.predict(original, batch))

    batches = problem.batches(problem.retain, size=64)
    for _ in range(2):
        problem.optimize(original, loss, batches, MOMENTUM)
    first, second = torch.cat(seen[: batches.steps]), torch.cat(seen[batches.steps :])
    assert not torch.equal(first, second) and torch.equal(first.sort().values, second.sort().values)
    assert [row["epoch"] for row in problem.record.curve] == [1.0, 2.0]


def test_one_phase_is_optimize_and_its_own_loop(tiny_problem, original):
    def trained(how: Callable[[nn.Module, Problem, Callable[..., Losses]], object]) -> nn.Module:
        model, problem = copy.deepcopy(original), tiny_problem()
        how(model, problem, lambda batch: cross_entropy(problem.predict(model, batch)))
        assert len(problem.record.curve) == 2 and not model.training
        return model

    def loop(model: nn.Module, problem: Problem, loss: Callable[..., Losses]) -> None:
        batches = problem.batches(problem.retain, size=64, epochs=2)
        stepper = problem.stepper(model, MOMENTUM, batches.steps)
        for _ in range(2):
            for (batch,) in stepper.epoch(batches):
                assert model.training
                stepper.step(loss, batch)

    one = trained(
        lambda model, problem, loss: problem.optimize(
            model, loss, problem.batches(problem.retain, size=64, epochs=2), MOMENTUM
        )
    )
    assert same_weights(one, trained(loop))


@pytest.mark.parametrize("most", [1, 3, 7])
def test_max_steps_ends_all_phases_together(tiny_problem, original, most):
    problem = tiny_problem()
    optimizer = Optimizer(name="sgd", lr=0.01, schedule="cosine", max_steps=most)
    Alternate(up=2, down=2, optimizer=optimizer)(original, problem)
    forget, retain = (problem.batches(index, size=size) for index, size in ((problem.forget, 16), (problem.retain, 64)))
    ends = [forget.steps, forget.steps + retain.steps, 2 * forget.steps + retain.steps]
    assert len(problem.record.curve) == 1 + sum(end < most for end in ends)
    assert problem.record.curve[0]["lr"] == 0.01


def test_more_steps_than_were_announced_are_refused(tiny_problem, original):
    problem = tiny_problem()
    batches = problem.batches(problem.retain, size=64)
    stepper = problem.stepper(original, MOMENTUM, batches.steps)
    stepper.descend(lambda batch: cross_entropy(problem.predict(original, batch)), batches)
    with pytest.raises(ValueError, match=f"made for {batches.steps} steps"):
        stepper.descend(lambda batch: cross_entropy(problem.predict(original, batch)), batches)


def test_the_reference_is_in_its_own_mode_again_after_an_epoch_and_after_a_failure(tiny_problem):
    spec = ResNet18(stem="small", dropout=0.0, pretrained=False, checkpoint=None, base=None)
    model = spec.build(tiny_problem().info)
    problem = tiny_problem(spec=spec, reference=copy.deepcopy(model).eval().requires_grad_(False))
    layer = problem.reference.get_submodule("bn1")
    batches = problem.batches(problem.forget, size=64)
    stepper = problem.stepper(model, MOMENTUM, 2 * batches.steps, against=problem.reference)
    factor = 1.0

    def loss(batch: Batch) -> Tensor:
        assert layer.training and not layer.track_running_stats
        return factor * cross_entropy(problem.predict(model, batch))

    stepper.descend(loss, batches)
    assert not layer.training and layer.track_running_stats and not model.training
    factor = float("nan")
    with pytest.raises(Diverged):
        stepper.descend(loss, batches)
    assert not layer.training and layer.track_running_stats and not model.training
