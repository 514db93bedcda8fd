"""Batches: their sizes, their order over an epoch, and what of a second stream a method gets to see."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import unlearnbench
from unlearnbench.contracts import Batch
from unlearnbench.errors import UserError
from unlearnbench.models.modes import Mode
from unlearnbench.models.resnet import ResNet18
from unlearnbench.training.batches import Batches, even_sizes
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.parts import parts
from unlearnbench.training.stepper import Stepper
from worlds import text_task

EPOCHS = 20


@pytest.fixture(scope="module")
def task():
    return text_task(limit=400)


def lengths(task, batch):
    return np.array([task._length(place) for place in batch.index.tolist()])


@pytest.mark.parametrize("size", [4, 7, 8, 32])
@pytest.mark.parametrize("count", [65, 96, 97, 289])
def test_an_epoch_of_text_holds_each_row_once_in_an_order_that_tells_nothing_of_its_length(task, count, size):
    index = np.random.default_rng(count).permutation(task.data.train)[:count]
    batches = Batches(task, (index,), size, EPOCHS, 0)
    correlations = []
    for epoch in range(EPOCHS):
        seen = [batch for (batch,) in batches.epoch(epoch)]
        assert sorted(np.concatenate([batch.index.numpy() for batch in seen])) == sorted(index)
        assert {len(batch) for batch in seen} <= {count // len(seen), -(-count // len(seen))}
        correlations.append(spearmanr(np.arange(len(seen)), [lengths(task, batch).mean() for batch in seen])[0])
    assert abs(np.mean(correlations)) < 3.5 / np.sqrt(EPOCHS * max(len(seen) - 1, 1))


def test_text_batches_hold_rows_of_a_length(task):
    within = [lengths(task, batch).std() for (batch,) in Batches(task, (task.data.train,), 8, 1, 0).epoch(0)]
    assert np.mean(within) < 0.2 * lengths(task, task.batch(task.data.train, None)).std()


@pytest.mark.parametrize("forgotten", [24, 37, 61])
def test_a_second_stream_that_is_cut_draws_from_all_of_its_rows(task, forgotten):
    forget, retain = task.data.train[:forgotten], task.data.train[forgotten:]
    batches = Batches(task, (forget, retain), 4, EPOCHS, 0)
    drawn = np.concatenate([lengths(task, batch) for epoch in range(EPOCHS) for _, batch in batches.epoch(epoch)])
    longer = [task._length(place) > np.median([task._length(place) for place in retain]) for place in retain]
    assert np.mean(drawn > np.median([task._length(place) for place in retain])) == pytest.approx(
        np.mean(longer), abs=0.1
    )


def test_a_second_stream_that_is_cycled_sees_each_of_its_rows_before_any_twice(task):
    forget, retain = task.data.train[:10], task.data.train[10:]
    batches = Batches(task, (retain, forget), 4, 1, 0)
    seen = [batch.index.tolist() for _, batch in itertools.islice(batches.epoch(0), 6)]
    assert sorted(itertools.chain(*seen[:3])) == sorted(itertools.chain(*seen[3:])) == forget.tolist()


def test_images_come_shuffled_and_once_an_epoch(tiny):
    epochs = [
        torch.cat([batch.index for (batch,) in Batches(tiny.task, (tiny.splits.retain,), 16, 2, 0).epoch(epoch)])
        for epoch in (0, 1)
    ]
    assert not torch.equal(*epochs)
    assert all(sorted(epoch.tolist()) == tiny.splits.retain.tolist() for epoch in epochs)


@pytest.mark.parametrize("size", [2, 3, 4, 7])
@pytest.mark.parametrize("count", range(2, 30))
def test_no_batch_is_of_one_example_and_sizes_are_even(count, size):
    sizes = even_sizes(count, size)
    assert sum(sizes) == count and min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= max(size, 3)


def test_batches_of_one_are_made_where_they_are_asked_for():
    assert even_sizes(3, 1) == [1, 1, 1]
    assert even_sizes(1, 8) == [1]


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("count", range(2, 14))
def test_micro_batches_are_of_two_examples_or_more(count, size):
    batch = Batch(torch.zeros(count, 1), torch.zeros(count, dtype=torch.int64), torch.arange(count))
    found = [len(part.batches[0]) for part in parts((batch,), size)]
    assert sum(found) == count and min(found) >= 2 and max(found) <= max(size, 3)


WORDS = ("dataset=synthetic", "dataset.side=8", "model=resnet18", "train.epochs=1")


@pytest.mark.parametrize(
    "words, named",
    [
        (("method=finetune", "train.batch_size=1"), "train.batch_size=1"),
        (("method=finetune", "++train.optimizer.micro_batch=1"), "train.optimizer.micro_batch=1"),
        (("method=npo", "method.batch_norm=train", "method.batch_size=1"), "method.batch_size=1"),
        (("method=distill", "++method.optimizer.micro_batch=1"), "method.optimizer.micro_batch=1"),
    ],
)
def test_a_step_on_one_image_is_refused_before_training_where_batch_norm_needs_two(tmp_path, words, named):
    with pytest.raises(UserError, match=rf"{named}: .*batch norm cannot learn from one image.*\nTry: {named[:-1]}2"):
        unlearnbench.run([f"outputs={tmp_path}", *WORDS, *words])
    assert not list((tmp_path / "cache").rglob("tensors.safetensors"))


def test_one_image_to_forget_is_refused_before_training_where_batch_norm_needs_two(tmp_path):
    (tmp_path / "one.txt").write_text("4\n")
    words = ("forget=list", f"forget.file={tmp_path / 'one.txt'}", "method=gradient_ascent")
    with pytest.raises(UserError, match=r"the forget set is one image.*\nTry: method\.batch_norm=frozen"):
        unlearnbench.run([f"outputs={tmp_path}", *WORDS, *words])
    assert not list((tmp_path / "cache").rglob("tensors.safetensors"))


@pytest.mark.slow
def test_three_images_to_forget_in_batches_of_two_are_a_run_that_ends_well(tmp_path):
    words = ("forget=random", "forget.fraction=null", "forget.count=3", "method=gradient_ascent", "method.batch_size=2")
    assert len(unlearnbench.run([f"outputs={tmp_path}", *WORDS, *words]).metrics)
    frozen = ("method=npo", "method.batch_size=1", "method.epochs=1")
    assert len(unlearnbench.run([f"outputs={tmp_path}", *WORDS, *words[:3], *frozen]).metrics)


def test_a_small_batch_cut_into_single_images_beside_a_large_one_is_explained(tiny):
    """Ten images beside 64 in eight micro-batches: torch's own words say nothing of what to type."""
    model = ResNet18(stem="auto", dropout=0.0, pretrained=False, checkpoint=None, base=None).build(tiny.data.info)
    stepper = Stepper(model, Optimizer(name="sgd", lr=0.1, micro_batch=8), 2)

    def loss(*batches):
        return tuple(cross_entropy(tiny.task.predict(model, batch)) for batch in batches)

    batches = [tiny.task.batch(tiny.splits.retain[:count], None) for count in (10, 64)]
    Mode(batch_norm="train").enter(model)
    with pytest.raises(UserError, match=r"one image alone.*\nTry: method.batch_norm=frozen"):
        stepper.step(loss, *batches)
    Mode(batch_norm="frozen").enter(model)
    stepper.step(loss, *batches)
