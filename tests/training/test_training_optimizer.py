"""The optimiser: groups with learning rates of their own under every schedule, and translated models."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import nn

from unlearnbench.errors import UserError
from unlearnbench.machine.bars import Quiet
from unlearnbench.request.config import typed
from unlearnbench.training.batches import Batches
from unlearnbench.training.fit import compiled, fit
from unlearnbench.training.optimizer import Optimizer, Plateau, groups
from unlearnbench.training.record import Record
from unlearnbench.training.stepper import Stepper
from worlds import RECIPE


def fresh(world):
    return copy.deepcopy(world.original).requires_grad_(True)


def test_every_parameter_is_in_one_group_and_the_head_has_its_own_rate(tiny):
    model = fresh(tiny)
    backbone, head = groups(model, Optimizer(name="adam", lr=1e-3, head_lr=1e-2), "linear")
    assert (backbone["lr"], head["lr"]) == (1e-3, 1e-2)
    assert {id(p) for p in head["params"]} == {id(p) for p in model.linear.parameters()}
    assert len(backbone["params"]) + len(head["params"]) == len(list(model.parameters()))


def test_without_a_rate_of_its_own_the_head_trains_with_the_rest(tiny):
    (everything,) = groups(fresh(tiny), Optimizer(name="adam", lr=1e-3), "linear")
    assert len(everything["params"]) == len(list(tiny.original.parameters()))


def test_frozen_parameters_are_in_no_group(tiny):
    model = fresh(tiny).requires_grad_(False)
    model.linear.requires_grad_(True)
    (head,) = groups(model, Optimizer(name="sgd", lr=1.0, head_lr=2.0), "linear")
    assert head["lr"] == 2.0


@pytest.mark.parametrize("schedule", ["none", "one_cycle", "cosine", "linear", "plateau"])
def test_the_ratio_of_the_two_rates_stays_under_every_schedule(tiny, schedule):
    model = fresh(tiny)
    stepper = Stepper(model, Optimizer(name="sgd", lr=0.01, head_lr=0.1, schedule=schedule), 6, "linear")
    batch = next(Batches(tiny.task, (tiny.splits.retain,), 60, 1, 0).epoch(0))[0]
    for _ in range(5):
        backbone, head = (group["lr"] for group in stepper.optimizer.param_groups)
        assert head == pytest.approx(10 * backbone)
        assert stepper.lr == backbone
        stepper.step(lambda piece: 0 * tiny.task.predict(model, piece).logits.sum(dim=1), batch)
        if schedule == "plateau":
            stepper.end_epoch(1.0)


LOSSES = (1.0, 0.95, 0.96, 0.94, 0.93, 0.92, 0.91, 0.92, 0.93, 0.94, 0.95, 0.5)


@pytest.mark.parametrize(("plateau", "falls"), [
    (Plateau(factor=0.5, patience=3, threshold=1e-4), (11,)),
    (Plateau(factor=0.3, patience=3, threshold=0.09), (5, 9)),
    (Plateau(factor=0.3, patience=0, threshold=1e-4), (3, 8, 9, 10, 11)),
])  # fmt: skip
def test_the_rate_falls_after_more_epochs_than_its_patience_without_a_loss_lower_by_its_threshold(tiny, plateau, falls):
    optimizer = Optimizer(name="sgd", lr=1.0, schedule="plateau", plateau=plateau)
    stepper = Stepper(fresh(tiny), optimizer, len(LOSSES))
    rates = [1.0]
    for loss in LOSSES:
        stepper.end_epoch(loss)
        rates.append(stepper.lr)
    assert [epoch for epoch in range(1, len(rates)) if rates[epoch] < rates[epoch - 1]] == list(falls)
    assert rates[-1] == pytest.approx(plateau.factor ** len(falls))


@pytest.mark.parametrize(("key", "value"), [("factor", 1.0), ("factor", 0.0), ("patience", -1), ("threshold", 1.0)])
def test_a_plateau_out_of_range_is_named(key, value):
    with pytest.raises(UserError, match=f"train.optimizer.plateau.{key}"):
        typed(Optimizer, {"name": "sgd", "lr": 0.1, "plateau": {key: value}}, "train.optimizer")


def test_a_translated_model_trains_to_the_same_weights_and_is_plain_afterwards(tiny, monkeypatch):
    translate = nn.Module.compile
    calls = []

    def eager(module):
        calls.append(module)
        translate(module, backend="eager")  # the default backend takes minutes; what is tested here is ours

    monkeypatch.setattr(nn.Module, "compile", eager)
    trained = []
    for wanted in (False, True):
        recipe = dataclasses.replace(RECIPE, epochs=1, compile=wanted)
        parts = (tiny.task, tiny.splits.retain, tiny.splits.validation, recipe)
        trained.append(fit(fresh(tiny), *parts, seed=0, record=Record(), progress=Quiet()))
    assert calls == [trained[1]]
    assert list(trained[1].state_dict()) == list(trained[0].state_dict())
    assert trained[1]._compiled_call_impl is None
    for one, other in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_model_is_plain_again_when_its_training_fails(tiny):
    model = fresh(tiny)
    with pytest.raises(RuntimeError, match="broken"), compiled(model, True):
        raise RuntimeError("broken")
    assert model._compiled_call_impl is None
