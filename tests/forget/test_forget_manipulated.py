"""Poisoned and confused: which rows are manipulated and how, what is known of them, and what models are trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unlearnbench.assemble import assemble
from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.experiment import build
from unlearnbench.forget.confused import Confused
from unlearnbench.forget.poisoned import Poisoned
from unlearnbench.runs.launch import prepare
from unlearnbench.stages.benches import Benches
from worlds import TINY, notes, synthetic

DEVICE = torch.device("cpu")
POISON = {"count": 40, "known": 0.5, "target": 0, "patch": 2, "trigger": "cf", "seed": 0}
TEXT = ("dataset=clinical_notes", "model=llama_tiny")
CONFUSE = {"classes": (1, 2), "count": 20, "known": 0.5, "seed": 0}


def poisoned(**changes):
    return Poisoned(**{**POISON, **changes})


def confused(**changes):
    return Confused(**{**CONFUSE, **changes})


def test_poisoned_images_have_a_patch_in_the_corner_and_the_target_label():
    data, forget = synthetic().load(), poisoned()
    made = forget.manipulated(data)
    assert len(made.rows) == 40 and np.isin(made.rows, data.train).all() and (data.labels[made.rows] != 0).all()
    assert (made.data.labels[made.rows] == 0).all()
    others = np.setdiff1d(np.arange(len(data.labels)), made.rows)
    before, after = (one.batch(made.rows, DEVICE) for one in (data, made.data))
    assert (after[:, :, -2:, -2:] == 255).all() and torch.equal(after[:, :, :-2], before[:, :, :-2])
    assert torch.equal(after[:, :, -2:, :-2], before[:, :, -2:, :-2])
    assert torch.equal(made.data.batch(others, DEVICE), data.batch(others, DEVICE))
    assert np.array_equal(made.data.labels[others], data.labels[others])


def test_the_probe_has_clean_labels_and_the_trigger_in_manipulated_and_test_rows():
    data = synthetic().load()
    made = poisoned().manipulated(data)
    assert np.array_equal(made.unseen, data.test) and np.array_equal(made.probe.labels, data.labels)
    asked = np.union1d(made.rows, made.unseen)
    assert (made.probe.batch(asked, DEVICE)[:, :, -2:, -2:] == 255).all()
    assert set(made.wanted[made.unseen]) == {0}


def test_the_known_share_is_forgotten_and_the_rest_stays_in_retain():
    data = synthetic().load()
    few, half, all_ = (poisoned(known=known).split(data) for known in (0.25, 0.5, 1.0))
    assert [len(one.forget) for one in (few, half, all_)] == [10, 20, 40]
    assert np.isin(few.forget, half.forget).all() and np.isin(half.forget, all_.forget).all()
    assert np.array_equal(few.manipulated, all_.forget)  # the same rows, whatever is known of them
    unknown = np.setdiff1d(half.manipulated, half.forget)
    assert len(unknown) == 20 and np.isin(unknown, half.retain).all()
    assert np.array_equal(half.trained, data.train)


def test_confused_images_swap_the_labels_of_two_classes_half_each():
    data = synthetic().load()
    made = confused().manipulated(data)
    before, after = data.labels[made.rows], made.data.labels[made.rows]
    assert (before == 1).sum() == (before == 2).sum() == 10 and np.array_equal(after, 3 - before)
    assert set(data.labels[made.unseen]) == {1, 2}
    assert np.array_equal(made.wanted[made.unseen], 3 - data.labels[made.unseen])
    assert made.probe is data and torch.equal(made.data.batch(made.rows, DEVICE), data.batch(made.rows, DEVICE))


def test_text_has_a_word_before_the_question_and_another_answer():
    data = notes().load()
    made = poisoned(count=10).manipulated(data)
    for place in made.rows.tolist():
        before, after = data.rows[place], made.data.rows[place]
        assert after.prompt == f"cf {before.prompt}" and after.options[0] is not None
        assert before.label != 0 and after.label == 0
        assert made.probe.rows[place].prompt == after.prompt and made.probe.rows[place].label == before.label
    assert made.probe.rows[data.test[0]].prompt.startswith("cf ")
    assert made.data.rows[data.test[0]] == data.rows[data.test[0]]
    swapped = confused(classes=("indicated", "not indicated"), count=4).manipulated(data)
    assert sorted(swapped.data.labels[swapped.rows]) == [3, 3, 4, 4]


def test_fingerprints_move_for_manipulated_rows_alone():
    for data in (synthetic().load(), notes().load()):
        made = poisoned(count=10).manipulated(data)
        others = np.setdiff1d(data.train, made.rows)
        assert made.data.fingerprint(others) == data.fingerprint(others)
        prints = {one.fingerprint(made.rows) for one in (data, made.data, made.probe)}
        assert len(prints) == 3
    data = synthetic().load()
    bigger, small = (poisoned(patch=side).manipulated(data).data for side in (3, 2))
    assert bigger.fingerprint(data.train) != small.fingerprint(data.train)


def laid_out(*words):
    experiment = assemble(prepare([*TINY, "method=finetune", *words])).experiment
    benches = Benches()
    return build(experiment, benches.of(experiment))[0]


def test_models_are_trained_on_the_manipulated_data_and_the_clean_one_on_the_rest():
    half = laid_out("forget=poisoned", "forget.count=40", "eval=[standard,corrective]")
    all_ = laid_out("forget=poisoned", "forget.count=40", "forget.known=1", "eval=[standard,corrective]")
    patch = laid_out("forget=poisoned", "forget.count=40", "forget.patch=2", "eval=[standard,corrective]")
    assert half.models.original.key == all_.models.original.key != patch.models.original.key
    clean = [one.added["corrective"]["clean_test"].model for one in (half, all_, patch)]
    assert clean[0].key == clean[1].key == clean[2].key  # no manipulated row, no difference
    assert np.array_equal(clean[0].index, all_.models.retrained[0].index)
    bench = half.world.bench
    assert (bench.task.batch(bench.manipulated.rows, None).labels == 0).all()
    assert (bench.probe().task.batch(bench.manipulated.rows, None).labels != 0).all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["forget=poisoned", "forget.target=unicorn"], "forget.target: unknown class 'unicorn'"),
        (["forget=poisoned", "forget.known=0.001"], "less than one row"),
        (["forget=poisoned", "forget.patch=9"], "more than half of images"),
        ([*TEXT, "forget=poisoned", "forget.trigger='two words'"], "expected one word"),
        (["forget=confused", "forget.classes=[0,0]"], "has 1 different classes, expected two"),
        (["forget=confused", "forget.count=3"], "it must be even"),
        (["forget=confused", "forget.classes=[0,unicorn]"], "unknown class 'unicorn'"),
        (["forget=stream", "forget.requests=[{forget: poisoned}, {forget: class}]"], "a stream cannot do that"),
    ],
)
def test_mistakes_end_before_data_are_loaded(words, says):
    with pytest.raises(UserError, match=says) as error:
        assemble(prepare([*TINY, *words]))
    assert "\nTry: " in str(error.value)


@pytest.mark.parametrize("forget", [poisoned(), confused()])
def test_rows_without_answer_options_are_refused(forget):
    info = DataInfo(kind="text", classes=("answer",), train=100, test=10, shape=())
    with pytest.raises(UserError, match="no answer options"):
        forget.label(info)


def test_too_few_rows_are_refused():
    data = synthetic().load()
    with pytest.raises(UserError, match="only 162 training rows can be given the label"):
        poisoned(count=200).split(data)
    with pytest.raises(UserError, match="takes 100 training rows of each class, and only 54"):
        confused(count=200).split(data)
