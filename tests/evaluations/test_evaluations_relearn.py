"""Relearn: half of forget is taught, the other half tells how much comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas
import pytest

from unlearnbench.errors import UserError
from unlearnbench.evaluations.relearn import halves
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.column import Column
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY, llama, notes, synthetic, world


def test_halves_divide_forget_and_keep_pairs_together():
    dataset = notes()
    biased = Column(column="is_biased", value=True, fraction=1.0, seed=0)
    here = world(dataset, dataset.load(), llama(), biased, generate=0)
    taught, held = halves(here)
    assert np.array_equal(np.union1d(taught, held), here.splits.forget) and not np.intersect1d(taught, held).size
    unit = here.bench.data.unit
    assert not np.intersect1d(unit[taught], unit[held]).size
    images = synthetic()
    taught, held = halves(world(images, images.load(), TinyCNN(checkpoint=None), ByClass(classes=(0,), seed=0)))
    assert abs(len(taught) - len(held)) <= 1


def test_a_run_has_a_curve_for_each_role_and_none_regains_what_it_never_lost(tmp_path):
    words = [*TINY, "train.epochs=8", "method=none", "eval=[standard,relearn]", f"outputs={tmp_path}"]
    rows = pandas.read_csv(execute(prepare(words)).folder / "metrics.csv")
    curve = rows[rows["split"] == "forget_held"].set_index("role")["value"]
    assert len(curve) == 3 * 4  # before and after each of three epochs
    assert list(curve.filter(like="unlearned")) == list(curve.filter(like="original"))  # method=none
    gap = rows[rows["metric"] == "relearn_gap"]["value"].item()
    expected = np.mean([curve[f"unlearned_relearned_{k}"] - curve[f"retrained_relearned_{k}"] for k in (1, 2, 3)])
    assert gap == pytest.approx(expected) and gap > 0


def test_rows_of_one_unit_are_divided_and_a_single_row_is_refused():
    dataset = notes()
    here = world(
        dataset, dataset.load(), llama(), Column(column="is_biased", value=True, fraction=1.0, seed=0), generate=0
    )
    unit = here.bench.data.unit
    pair = np.flatnonzero(unit == unit[here.splits.forget[0]])
    taught, held = halves(replace(here, splits=replace(here.splits, forget=pair)))
    assert (len(taught), len(held)) == (1, 1)
    with pytest.raises(UserError, match="one row is too few"):
        halves(replace(here, splits=replace(here.splits, forget=pair[:1])))
