"""Shadow: a model of a random half of the rows, scored on all of them."""

from __future__ import annotations

import json

import numpy as np
import pandas

from unlearnbench.forget.classes import ByClass
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY, synthetic, world


def test_halves_are_random_and_of_all_rows():
    dataset = synthetic()
    here = world(dataset, dataset.load(), TinyCNN(checkpoint=None), ByClass(classes=(0,), seed=0))
    first, second = here.without("shadow", 0).splits, here.without("shadow", 1).splits
    for half in (first, second):
        assert np.array_equal(np.union1d(half.retain, half.forget), here.all)
        assert abs(len(half.retain) - len(half.forget)) <= 1
        assert 0 < np.isin(here.splits.forget, half.retain).sum() < len(here.splits.forget)
    assert not np.array_equal(first.retain, second.retain)


def test_a_run_has_two_shadows_that_know_their_own_half(tmp_path):
    words = [*TINY, "train.epochs=8", "method=none", "eval=[standard,shadow]", "eval.shadow.count=2"]
    done = execute(prepare([*words, f"outputs={tmp_path}"]))
    rows = pandas.read_csv(done.folder / "metrics.csv").set_index(["role", "split", "metric"])["value"]
    for number in (0, 1):
        inside, outside = (rows[f"shadow_{number}", f"train_{where}", "accuracy"] for where in ("in", "out"))
        assert rows[f"shadow_{number}", "train", "memorised"] == inside - outside
    kinds = [json.loads(file.read_text())["kind"] for file in (tmp_path / "cache" / "stages").glob("*/facts.json")]
    assert kinds.count("train") == 4
