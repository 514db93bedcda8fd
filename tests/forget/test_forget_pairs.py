"""Counterfactual twins: whole pairs are forgotten where that is asked for, and else it is said what stays of them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from unlearnbench.contracts import DataInfo
from unlearnbench.data.text import TextData, TextRow
from unlearnbench.errors import UserError
from unlearnbench.forget.column import Column
from unlearnbench.forget.random import Random
from unlearnbench.forget.splits import ForgetSet, twins_retained
from unlearnbench.runs.launch import execute, prepare
from worlds import notes, synthetic

RANDOM = Random(fraction=0.2, count=None, seed=0)
BIASED = Column(column="is_biased", value=True, fraction=1.0, seed=0)
RACE = Column(column="axis", value="race", fraction=0.5, seed=0)
DRAWN = [RANDOM, replace(RANDOM, fraction=None, count=31), replace(BIASED, fraction=0.5), RACE]
TINY = ("dataset=clinical_notes", "dataset.limit=120", "dataset.limit_test=48", "dataset.limit_validation=20",
        "model.hidden=16", "model.vocabulary=600", "train.epochs=1", "eval.generate=0", "method=none")  # fmt: skip


@pytest.fixture(scope="module")
def data() -> TextData:
    return notes(limit=400).load()


@pytest.mark.parametrize("forget", [*DRAWN, BIASED])
def test_whole_pairs_leave_no_twin_of_a_forgotten_row(data: TextData, forget: ForgetSet) -> None:
    torn, whole = forget.split(data), replace(forget, whole_pairs=True).split(data)
    assert twins_retained(torn, data) > 0
    assert twins_retained(whole, data) == 0
    assert not set(data.unit[whole.forget]) & set(data.unit[whole.retain])
    assert np.array_equal(np.union1d(whole.retain, whole.forget), data.train)
    assert not np.intersect1d(whole.retain, whole.forget).size


@pytest.mark.parametrize(("forget", "size"), [(DRAWN[0], 80), (DRAWN[1], 30)])
def test_a_random_part_of_whole_pairs_is_as_large_as_was_asked_or_one_less(data, forget, size) -> None:
    assert len(replace(forget, whole_pairs=True).split(data).forget) == size


@pytest.mark.parametrize("forget", [replace(BIASED, fraction=0.5), RACE])
def test_of_a_column_the_fraction_counts_rows_of_the_value_and_twins_come_with_them(data, forget) -> None:
    values = data.columns[forget.column]
    rows = int((values[data.train] == forget.value).sum())
    goes = replace(forget, whole_pairs=True).split(data).forget
    assert abs((values[goes] == forget.value).sum() - 0.5 * rows) <= 1
    assert set(goes) == {place for place in data.train if data.unit[place] in set(data.unit[goes])}


def test_the_twin_of_a_biased_row_goes_with_it_though_it_is_not_biased(data: TextData) -> None:
    goes = replace(BIASED, whole_pairs=True).split(data).forget
    assert set(BIASED.split(data).forget) < set(goes) and len(goes) == 2 * len(BIASED.split(data).forget)


@pytest.mark.parametrize("forget", [RANDOM, replace(RANDOM, fraction=None, count=17, seed=3)])
def test_for_images_whole_pairs_change_nothing(forget: Random) -> None:
    images = synthetic().load()
    splits = [replace(forget, whole_pairs=whole).split(images).forget for whole in (False, True)]
    assert np.array_equal(*splits)
    assert twins_retained(forget.split(images), images) == 0


@pytest.mark.parametrize("forget", [*DRAWN, BIASED, replace(RACE, seed=2), replace(RANDOM, seed=2)])
def test_labels_say_which_runs_forget_whole_pairs(data: TextData, forget: ForgetSet) -> None:
    plain, whole = forget.label(data.info), replace(forget, whole_pairs=True).label(data.info)
    assert plain != whole and whole.replace(":whole_pairs", "") == plain


@pytest.mark.parametrize(
    ("forget", "says"),
    [
        (Random(fraction=None, count=3, seed=0, whole_pairs=True), "every pair has more than 3 examples"),
        (
            Column(column="half", value=True, fraction=0.3, seed=0, whole_pairs=True),
            "every pair has more than 3 examples",
        ),
        (Column(column="odd", value=True, fraction=1.0, seed=0, whole_pairs=True), "would forget everything"),
    ],
)
def test_pairs_that_cannot_be_forgotten_whole_are_refused(forget: ForgetSet, says: str) -> None:
    rows = tuple(
        TextRow(
            prompt=f"question {n}", options=("yes", "no"), label=0, corrected=0, pair=str(n // 10),
            facts={"odd": n % 2 == 1, "half": n < 10},
        )
        for n in range(20)
    )  # fmt: skip
    info = DataInfo(kind="text", classes=("a", "b"), train=20, test=0, shape=(), columns=("odd", "half"))
    none = np.arange(0)
    with pytest.raises(UserError, match=rf"{says}(.|\n)*Try: forget\.whole_pairs=false"):
        forget.split(TextData(info=info, rows=rows, train=np.arange(20), validation=none, test=none))


@pytest.mark.slow
def test_a_run_says_how_many_twins_are_retained(tmp_path, caplog) -> None:
    def run(*words: str) -> tuple[str, int]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="unlearnbench"):
            folder = execute(prepare([f"outputs={tmp_path}", *TINY, *words])).folder
        return caplog.text, json.loads((folder / "result.json").read_text())["twins_retained"]

    told, left = run("forget=random", "forget.fraction=0.2")
    assert left > 0 and f"{left} of 24 forget rows have a counterfactual twin in the retain set" in told
    assert "Try: forget.whole_pairs=true" in told
    assert run("forget=random", "forget.fraction=0.2", "forget.whole_pairs=true") == ("", 0)
    told, left = run()
    assert told == "" and left > 0  # all biased rows were to go, and no other
