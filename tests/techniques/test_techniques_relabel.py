"""Other answers: what is drawn, and what a batch then holds."""

from __future__ import annotations

import dataclasses

import numpy as np

from unlearnbench.techniques.relabel import drawn, no_choice, relabelled, wrong


def test_each_allowed_column_is_drawn_equally_often():
    allowed = np.tile(np.array([[True, False, True, True], [False, False, False, True]]), (3000, 1))
    columns = drawn(allowed, np.random.default_rng(0))
    counts = np.bincount(columns[::2], minlength=4)
    assert counts[1] == 0
    assert abs(counts[[0, 2, 3]] - 1000).max() < 100
    assert (columns[1::2] == 3).all()


def test_wrong_answers_leave_out_the_own_one(tiny):
    index = tiny.splits.retain
    allowed = wrong(tiny.task, index)
    assert (allowed.sum(axis=1) == 3).all()
    assert not allowed[np.arange(len(index)), tiny.data.labels[index]].any()


def test_relabelled_images_have_the_drawn_classes_and_others_their_own(tiny):
    forget, retain = tiny.splits.forget, tiny.splits.retain
    task = relabelled(tiny.task, forget, "wrong", 0)
    before, after = (one.batch(forget, None) for one in (tiny.task, task))
    assert (before.labels != after.labels).all()
    assert (before.inputs == after.inputs).all()
    assert (task.batch(retain, None).labels == tiny.task.batch(retain, None).labels).all()
    assert (tiny.task.answers(forget) == tiny.data.labels[forget]).all()


def test_relabelled_texts_end_in_the_tokens_of_another_option(tiny_text):
    task, forget = tiny_text.task, tiny_text.splits.forget
    index, columns = forget[:6], task.answers(forget[:6])
    other = 1 - columns
    batch = task.answering(index, other).batch(index, None)
    for row, (place, column) in enumerate(zip(index.tolist(), other.tolist(), strict=True)):
        tokens = dict(task.options(place))[column]
        assert batch.labels[row][batch.labels[row] != -100].tolist() == tokens
    assert batch.rows_per_example == (batch.labels != -100).sum() / 6
    assert task.answer(int(index[0])) != task.answering(index, other).answer(int(index[0]))


def test_answers_cannot_be_drawn_where_there_is_only_one(tiny_text):
    data = tiny_text.data
    row = dataclasses.replace(
        data.rows[0], options=(data.rows[0].prompt, *[None] * (len(data.rows[0].options) - 1)), label=0
    )
    task = tiny_text.task.on(dataclasses.replace(data, rows=(row, *data.rows[1:])))
    assert "1 of its 2 examples have no other answer" in (no_choice(task, np.array([0, 1])) or "")
    assert no_choice(tiny_text.task, np.array([0, 1])) is None


def test_the_span_of_pixels_is_what_black_and_white_become(tiny):
    low, high = tiny.task.span
    assert (float(low), float(high)) == (-2.0, 2.0)  # mean .5, std .25
