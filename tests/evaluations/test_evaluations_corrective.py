"""Corrective: what a manipulation still does, against models that never saw a manipulated row."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.experiment import build
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages.benches import Benches
from worlds import TINY

DIGITS = (
    *("dataset=digits", "model=tiny_cnn", "train.epochs=30", "method=retrain", "forget=poisoned", "forget.count=120"),
    *("forget.patch=2", "eval=[standard,corrective]"),
)


def rows(folder, *words):
    table = pandas.read_csv(execute(prepare([*words, f"outputs={folder}"])).folder / "metrics.csv")
    return table.set_index(["role", "split", "metric"])["value"]


def test_rows_are_of_all_roles_and_gaps_are_to_the_mean_of_the_clean_models(tmp_path):
    words = (*TINY, "forget=poisoned", "forget.count=40", "method=finetune", "reference.count=2")
    found = rows(tmp_path, *words, "eval=[standard,corrective]", "eval.corrective.count=2")
    assert not found.index.duplicated().any()
    for split in ("triggered", "manipulated"):
        for role in ("original", "retrained", "unlearned"):
            gap = found[role, split, "accuracy"] - found["clean", split, "accuracy"]
            assert found[role, split, "gap_to_clean"] == pytest.approx(gap)
            assert 0 <= found[role, split, "attack_success"] <= 1
    gap = found["unlearned", "test", "accuracy"] - found["clean", "test", "accuracy"]
    assert found["unlearned", "test", "gap_to_clean"] == pytest.approx(gap)
    assert found["clean", "triggered", "floor_gap_to_clean"] >= 0
    splits = np.load(next((tmp_path / "runs").glob("*/splits.npz")))
    assert len(splits["manipulated"]) == 40 and len(splits["forget"]) == 20


def test_it_needs_no_retrained_model_and_says_what_was_confused(tmp_path):
    words = (*TINY, "forget=confused", "forget.count=20", "method=none", "reference.count=0", "eval=[corrective]")
    found = rows(tmp_path, *words)
    assert {role for role, _, _ in found.index} == {"original", "clean", "unlearned"}
    assert found["unlearned", "confused", "gap_to_clean"] == found["original", "confused", "gap_to_clean"]


def test_a_forget_set_that_manipulates_nothing_is_refused_before_anything_trains():
    experiment = assemble(prepare([*TINY, "forget=class", "method=none", "eval=[standard,corrective]"])).experiment
    with pytest.raises(UserError, match="Try: forget=poisoned"):
        build(experiment, Benches().of(experiment))


@pytest.mark.slow
def test_retraining_is_clean_where_all_is_known_and_still_poisoned_where_half_is(tmp_path):
    half, all_ = (rows(tmp_path, *DIGITS, f"forget.known={known}") for known in (0.5, 1.0))
    assert all_["original", "triggered", "attack_success"] > 0.7
    assert abs(all_["unlearned", "triggered", "gap_to_clean"]) < 0.06
    assert all_["unlearned", "triggered", "attack_success"] < 0.05
    assert half["unlearned", "triggered", "gap_to_clean"] < -0.15
    assert half["unlearned", "triggered", "attack_success"] > 0.25
