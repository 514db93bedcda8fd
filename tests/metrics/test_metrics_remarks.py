"""Remarks: a run says where there is little to forget, and where its numbers cannot tell much."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearnbench.evidence import BySplit, Scores
from unlearnbench.metrics.remarks import few_rows, little_to_forget, unlike


def model(hits: int, rows: int = 40, sure: float = 1.0) -> BySplit:
    """A model that gets `hits` of the rows of both splits right, and is `sure` (in logits) of what it says."""
    label = np.zeros(rows, dtype=np.int64)
    given = np.where(np.arange(rows) < hits, 0, 1)
    scores = Scores(sure * np.eye(2, dtype=np.float32)[given], label, np.arange(rows))
    return {"retain": scores, "forget": scores}


@pytest.mark.parametrize(
    ("original", "retrained", "by_loss", "by_class"),
    [
        (model(30), [model(20), model(10)], False, False),
        (model(20), [model(20)], True, True),
        (model(10), [model(30), model(10)], True, True),
        (model(38, sure=2.0), [model(38, sure=1.0)], False, True),
        (model(30), [], False, False),
    ],
)
def test_the_premise_fails_where_the_original_knows_the_forget_rows_no_better(
    original: BySplit, retrained: list[BySplit], by_loss: bool, by_class: bool
) -> None:
    for whole_class, fails in ((False, by_loss), (True, by_class)):
        said = list(little_to_forget(original, retrained, whole_class=whole_class, checkpoint=False))
        assert bool(said) is fails
        assert not said or (said[0].startswith("PREMISE FAILS: ") and "train.epochs" in said[0])


def test_with_a_checkpoint_it_asks_for_the_right_file() -> None:
    (said,) = little_to_forget(model(5), [model(5)], whole_class=True, checkpoint=True)
    assert said.endswith("(accuracy 0.125 against 0.125): there is little to forget. Try: train longer (train.epochs), "
                         "or ask whether model.checkpoint is the right file")  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [(1, ["forget has 1 row: its accuracy is all or nothing"]),
     (8, ["forget has 8 rows: one row is 0.125 of its accuracy"]), (20, [])],
)  # fmt: skip
def test_a_small_forget_set_says_what_one_row_is(rows: int, said: list[str]) -> None:
    assert list(few_rows(model(rows, rows))) == said


@pytest.mark.parametrize(("auc", "lines"), [(0.29, 1), (0.3, 0), (0.5, 0), (0.7, 0), (0.71, 1), (math.nan, 0)])
def test_held_out_rows_of_another_kind_are_told_by_the_retrained_model(auc: float, lines: int) -> None:
    assert len(list(unlike(auc))) == lines
