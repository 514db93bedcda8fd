"""The stepper: clipping, micro-batches, divergence, schedules, and a resumed training that is the same."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from unlearnbench.errors import Diverged
from unlearnbench.machine.bars import Quiet
from unlearnbench.machine.precision import Precision
from unlearnbench.models.modes import Mode
from unlearnbench.models.tiny import TinyResNet
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.stages.resume import Resumable
from unlearnbench.tasks.image import ImageTask
from unlearnbench.techniques.preferences import npo, summed_loss
from unlearnbench.training.batches import Batches
from unlearnbench.training.fit import fit
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.record import Record
from unlearnbench.training.stepper import Stepper
from worlds import RECIPE, SGD, same_weights


def fresh(tiny):
    with seeded("fresh"):
        return tiny.spec.build(tiny.data.info)


def trained(tiny, recipe, **extra):
    record = Record()
    model = fit(
        fresh(tiny), tiny.task, tiny.splits.retain, tiny.splits.validation, recipe,
        seed=5, record=record, progress=Quiet(), **extra,
    )  # fmt: skip
    return model, record


@pytest.mark.parametrize("schedule", ["none", "one_cycle", "cosine", "plateau"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimizer_and_schedule_learns(tiny, name, schedule):
    optimizer = Optimizer(name=name, lr=0.05 if name == "sgd" else 0.01, schedule=schedule)
    model, record = trained(tiny, dataclasses.replace(RECIPE, epochs=6, optimizer=optimizer))
    assert record.curve[-1]["loss"] < record.curve[0]["loss"]
    assert record.examples == 6 * len(tiny.splits.retain)
    assert not model.training


def test_resumed_training_equals_an_uninterrupted_one(tiny, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=4)
    whole, whole_record = trained(tiny, recipe)

    class Killed(Exception):
        pass

    state = Resumable(tmp_path / "state", every_seconds=0)

    def save_then_die(stepper, record, epoch):
        state.save(stepper, record, epoch)
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        trained(tiny, recipe, resume=state.resume, save=save_then_die)
    resumed, record = trained(tiny, recipe, resume=state.resume)
    assert same_weights(whole, resumed)
    assert record.curve == whole_record.curve


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_so_does_one_in_channels_last_memory(tiny, tmp_path, name):
    """The optimiser's state is stored in plain order; left in it, weights differed by up to .026 three epochs later."""
    spec, precision = TinyResNet(depth=8, checkpoint=None), Precision("cpu", bf16=True, channels_last=True)
    task = ImageTask(tiny.data, tiny.dataset, precision, spec.parts().head, 64)
    optimizer = Optimizer(name=name, lr=0.1, momentum=0.9) if name == "sgd" else Optimizer(name=name, lr=0.01)

    def trained_on(epochs, **extra):
        recipe = dataclasses.replace(RECIPE, epochs=epochs, optimizer=optimizer)
        with seeded("fresh"):
            model = task.prepare(spec.build(tiny.data.info))
        return fit(
            model, task, tiny.data.train, tiny.data.validation, recipe,
            seed=5, record=Record(), progress=Quiet(), **extra,
        )  # fmt: skip

    state = Resumable(tmp_path / "state", every_seconds=0)
    trained_on(1, save=state.save)
    assert same_weights(trained_on(3, resume=state.resume), trained_on(3))


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_a_resumed_training_is_in_the_mode_of_the_uninterrupted_one(tiny, tmp_path, batch_norm):
    statistics = {name: value.clone() for name, value in tiny.original.named_buffers()}

    def trained_on(epochs, state=None):
        model = copy.deepcopy(tiny.original).requires_grad_(True)
        batches = Batches(tiny.task, (tiny.splits.forget,), 16, 4, 5)
        stepper = Stepper(model, SGD, batches.steps, mode=Mode(batch_norm=batch_norm))
        if state is not None:
            stepper.epochs = state.resume(stepper, stepper.record)
        while stepper.epochs < epochs:
            stepper.descend(lambda batch: cross_entropy(tiny.task.predict(model, batch)), batches)
        return stepper

    state = Resumable(tmp_path / "state", every_seconds=0)
    half = trained_on(2)
    state.save(half, half.record, half.epochs)
    resumed = trained_on(4, state).model
    assert same_weights(resumed, trained_on(4).model)
    kept = all(torch.equal(value, statistics[name]) for name, value in resumed.named_buffers())
    assert kept == (batch_norm == "frozen")


def test_an_interrupted_training_keeps_its_seconds_peak_and_circumstances(tiny, tmp_path, monkeypatch):
    """Each epoch takes 10 s by a fake clock, of which 3 s score the validation examples; after two it is killed."""
    now = 0.0

    def passing(seconds, work):
        def slow(*given, **named):
            nonlocal now
            now += seconds
            return work(*given, **named)

        return slow

    class Killed(Exception):
        pass

    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr(Stepper, "end_epoch", passing(7.0, Stepper.end_epoch))
    monkeypatch.setattr(type(tiny.task), "score", passing(3.0, type(tiny.task).score))
    recipe = dataclasses.replace(RECIPE, epochs=4)
    first = Resumable(tmp_path / "state", every_seconds=0, circumstances={"threads": 1})

    def save_then_die(stepper, record, epoch):
        first.save(stepper, record, epoch)
        if epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        trained(tiny, recipe, resume=first.resume, save=save_then_die)
    now += 500.0  # nothing runs
    second = Resumable(tmp_path / "state", every_seconds=0, circumstances={"threads": 2})
    _, record = trained(tiny, recipe, resume=second.resume, save=second.save)
    assert record.earlier.seconds == 20.0 and record.validation_seconds == 12.0
    assert record.earlier.peak_mib > 0
    third = Resumable(tmp_path / "state", circumstances={"threads": 2})
    _, again = trained(tiny, recipe, resume=third.resume)
    assert again.earlier.seconds == 40.0 and again.validation_seconds == 12.0
    assert again.earlier.circumstances == ({"threads": 1}, {"threads": 2})


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_resume_restores_adam_and_its_schedule(tiny, tmp_path, schedule):
    recipe = dataclasses.replace(RECIPE, epochs=4, optimizer=Optimizer(name="adam", lr=0.01, schedule=schedule))
    whole, _ = trained(tiny, recipe)
    state = Resumable(tmp_path / "state", every_seconds=0)
    saved = []

    def save_two(stepper, record, epoch):
        if epoch <= 2:
            state.save(stepper, record, epoch)
            saved.append(epoch)

    trained(tiny, recipe, save=save_two)
    resumed, _ = trained(tiny, recipe, resume=state.resume)
    assert saved == [1, 2]
    assert same_weights(whole, resumed)


def test_damaged_state_starts_again(tiny, tmp_path):
    recipe = dataclasses.replace(RECIPE, epochs=2)
    state = Resumable(tmp_path / "state", every_seconds=0)
    whole, _ = trained(tiny, recipe, save=state.save)
    (tmp_path / "state" / "tensors.safetensors").write_bytes(b"broken")
    again, record = trained(tiny, recipe, resume=state.resume)
    assert same_weights(whole, again)
    assert len(record.curve) == 2


def test_divergence_names_its_step(tiny):
    model = fresh(tiny)
    batches = Batches(tiny.task, (tiny.splits.retain,), 32, 1, 0)
    count = 0

    def loss(batch):
        nonlocal count
        count += 1
        value = cross_entropy(tiny.task.predict(model, batch))
        return value * float("nan") if count == 3 else value

    with pytest.raises(Diverged) as error:
        Stepper(model, SGD, batches.steps).descend(loss, batches)
    assert error.value.step == 3


def difference(task, model):
    """Return the loss of a method with two batches: means over rows and over examples, on a common scale."""

    def loss(forget, retain):
        gone, kept = task.predict(model, forget), task.predict(model, retain)
        return npo(summed_loss(gone), 0.1, 1.0) - cross_entropy(gone), 0.5 * cross_entropy(kept)

    return loss


def stepped(world, model, loss, micro, *batches):
    """Take one step of plain SGD; return the weights' change as one vector, and the loss."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    stepper = Stepper(model, Optimizer(name="sgd", lr=1.0, micro_batch=micro), 1)
    stepper.step(loss, *batches)
    change = torch.cat([(new.detach() - old).flatten() for new, old in zip(model.parameters(), before, strict=True)])
    return change, stepper.losses[0]


@pytest.mark.parametrize("micro", [1, 2, 7, 20])
@pytest.mark.parametrize("sizes", [(60,), (30, 32), (2, 32), (3, 31), (31, 5)])
@pytest.mark.parametrize("kind", ["image", "text"])
def test_micro_batches_make_the_step_of_the_whole(tiny, tiny_text, kind, sizes, micro):
    world = tiny if kind == "image" else tiny_text
    index = world.data.train
    batches = [world.task.batch(index[5 * place :][:size], None) for place, size in enumerate(sizes)]
    results = []
    for size in (None, micro):
        model = copy.deepcopy(world.original).eval()
        loss = difference(world.task, model)
        if len(sizes) == 1:
            loss = lambda piece, model=model: cross_entropy(world.task.predict(model, piece))  # noqa: E731
        results.append(stepped(world, model, loss, size, *batches))
    torch.testing.assert_close(results[1][0], results[0][0], atol=2e-5, rtol=1e-3)
    torch.testing.assert_close(results[1][1], results[0][1], atol=1e-5, rtol=1e-5)


def test_clipping_bounds_the_step(tiny):
    batch = next(Batches(tiny.task, (tiny.splits.retain,), 60, 1, 0).epoch(0))[0]
    model = fresh(tiny)
    before = copy.deepcopy(model)
    stepper = Stepper(model, Optimizer(name="sgd", lr=1.0, clip_norm=0.01), 1)
    stepper.step(lambda piece: cross_entropy(tiny.task.predict(model, piece)), batch)
    moved = sum(
        float((a - b).detach().square().sum()) for a, b in zip(model.parameters(), before.parameters(), strict=True)
    )
    assert moved**0.5 == pytest.approx(0.01, rel=1e-3)
    stepper = Stepper(model, Optimizer(name="sgd", lr=1.0, clip_value=1e-4), 1)
    before = copy.deepcopy(model)
    stepper.step(lambda piece: cross_entropy(tiny.task.predict(model, piece)), batch)
    largest = max(
        float((a - b).detach().abs().max()) for a, b in zip(model.parameters(), before.parameters(), strict=True)
    )
    assert largest <= 1e-4 + 1e-7


def test_an_epoch_shows_every_example_once_and_the_second_stream_cycles(tiny):
    batches = Batches(tiny.task, (tiny.splits.retain, tiny.splits.forget), 32, 2, 0)
    first = [pair for pair in batches.epoch(0)]
    seen = torch.cat([pair[0].index for pair in first]).numpy()
    assert np.array_equal(np.sort(seen), tiny.splits.retain)
    assert len(first) == batches.steps_per_epoch
    assert set(torch.cat([pair[1].index for pair in first]).tolist()) <= set(tiny.splits.forget.tolist())
    order = torch.cat([pair[0].index for pair in batches.epoch(1)]).numpy()
    assert not np.array_equal(order, seen)


def test_batches_are_even_so_that_no_rest_upsets_batch_norm(tiny):
    batches = Batches(tiny.task, (tiny.splits.retain[:33],), 32, 1, 0)
    assert [len(pair[0]) for pair in batches.epoch(0)] == [16, 17]


def test_stage_seeds_differ_by_name_and_stay_put():
    assert stage_seed(0, "retrained", 1) != stage_seed(1, "retrained", 0)
    assert stage_seed(0, "original") == stage_seed(0, "original")
    assert 0 <= stage_seed("x") < 2**63


@pytest.mark.parametrize("steps", range(1, 10))
def test_one_cycle_of_any_length_rises_and_falls(tiny, steps):
    stepper = Stepper(fresh(tiny), Optimizer(name="sgd", lr=1.0, schedule="one_cycle"), steps)
    batch = next(Batches(tiny.task, (tiny.splits.retain,), 60, 1, 0).epoch(0))[0]
    rates = []
    for _ in range(steps):
        rates.append(stepper.lr)
        stepper.step(lambda piece: 0 * cross_entropy(tiny.task.predict(stepper.model, piece)), batch)
    assert rates[0] < 0.1
    if steps > 2:
        assert max(rates) > 0.5 and rates[-1] < max(rates)
