"""Scoring the validation part in place of the test set: settings are chosen without looking at the test set."""

from __future__ import annotations

import json

import numpy as np

from unlearnbench.runs.launch import execute, prepare

WORDS = ("dataset=synthetic", "model=tiny_cnn", "method=finetune", "train.epochs=1", "method.epochs=1")


def run(folder, *more):
    return execute(prepare([*WORDS, f"outputs={folder}", *more])).folder


def test_validation_is_scored_as_test_and_the_test_set_is_not_touched(tmp_path):
    folder = run(tmp_path, "eval.held_out=validation")
    splits = np.load(folder / "splits.npz")
    assert np.array_equal(splits["test"], splits["validation"])
    scored = np.load(folder / "scores" / "unlearned_test.npz")["index"]
    assert np.array_equal(scored, splits["validation"])
    assert np.array_equal(np.sort(np.concatenate([splits["test_retain"], splits["test_forget"]])), splits["validation"])


def test_the_trained_models_are_shared_and_the_runs_are_two(tmp_path):
    chosen, final = run(tmp_path, "eval.held_out=validation"), run(tmp_path)
    assert chosen != final
    reused = json.loads((final / "result.json").read_text())["reused"]
    assert all(reused.values())
