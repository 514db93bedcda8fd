"""What is measured without a retrained model: hand-computed, and nothing of it where there is one."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.evidence import Scores
from unlearnbench.metrics import catalogue
from unlearnbench.metrics.measure import measure
from unlearnbench.metrics.unreferenced import unreferenced

METRICS = tuple(metric for metric in catalogue() if metric.name in ("accuracy", "loss"))


def scores(label, right, start=0):
    """Return scores of two classes, with a probability of .8 for the label where a row is right, else .2."""
    label, right = np.array(label), np.array(right, dtype=bool)
    chances = np.where(right, 0.8, 0.2)
    logits = np.log(np.where(np.arange(2) == label[:, None], chances[:, None], 1 - chances[:, None]))
    return Scores(logits.astype(np.float32), label, np.arange(start, start + len(label)))


ORIGINAL = {
    "retain": scores([0, 1, 0, 1], [1, 1, 1, 1]),
    "forget": scores([0, 0], [1, 1], 4),
    "test": scores([0, 0, 1, 1], [1, 0, 0, 0], 6),
}
UNLEARNED = {**ORIGINAL, "forget": scores([0, 0], [0, 0], 4), "retain": scores([0, 1, 0, 1], [1, 1, 1, 0])}


def found(original=ORIGINAL, unlearned=UNLEARNED, whole_class=False):
    rows = measure(original, (), unlearned, (), whole_class, 0, METRICS)
    more = unreferenced(rows, original, unlearned, whole_class, 0, METRICS)
    return {(row.role, row.split, row.metric): row.value for row in more}


def test_changes_are_from_the_original():
    rows = found()
    assert rows["unlearned", "forget", "change_accuracy"] == -1.0
    assert rows["unlearned", "retain", "change_accuracy"] == -0.25
    assert rows["unlearned", "test", "change_accuracy"] == 0.0
    assert rows["unlearned", "forget", "change_loss"] == pytest.approx(np.log(0.8 / 0.2))


def test_forget_is_compared_with_held_out_rows_of_the_same_labels():
    rows = found()
    assert rows["original", "forget", "gap_held_out_accuracy"] == 1.0 - 0.5
    assert rows["unlearned", "forget", "gap_held_out_accuracy"] == 0.0 - 0.5


def test_of_whole_classes_the_held_out_rows_are_those_of_what_goes():
    split = {"test_forget": scores([0], [1], 6), "test_retain": scores([0, 1, 1], [0, 0, 0], 7)}
    rows = found({**ORIGINAL, **split}, {**UNLEARNED, **split}, whole_class=True)
    assert rows["original", "forget", "gap_held_out_accuracy"] == 0.0


def test_without_held_out_rows_of_the_kind_there_is_no_such_gap():
    alone = {"test": scores([1, 1], [1, 1], 6)}
    rows = found({**ORIGINAL, **alone}, {**UNLEARNED, **alone})
    assert not [name for name in rows if "held_out" in name[2]]


def test_the_distance_to_the_original_is_zero_where_nothing_moved_and_at_most_one():
    rows = found()
    assert rows["unlearned", "test", "js_to_original"] == 0.0
    p, m = np.array([0.8, 0.2]), np.array([0.5, 0.5])
    expected = float((p * np.log2(p / m)).sum())
    assert rows["unlearned", "forget", "js_to_original"] == pytest.approx(expected, abs=1e-6)
    assert rows["unlearned", "retain", "js_to_original"] == pytest.approx(expected / 4, abs=1e-6)
