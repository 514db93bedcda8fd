"""Evaluations over seeds in a report: which models are joined, what is written, and what is said to be missing."""

from __future__ import annotations

import re

import numpy as np
import pandas
import pytest

from run_folders import make_run
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.report import write
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY

ASKED = {
    "klom": {"bins": 20, "fewest": 3, "draws": 5},
    "forgetting_score": {"delta": 1e-5, "fewest": 3, "draws": 3},
}
ROWS = {"retain": np.arange(20), "forget": np.arange(20, 30), "test": np.arange(40, 60)}


def seeded_run(folder, number, method, seed, *, references=2, shift=0.0, rows=ROWS, **changes):
    """Write a run whose models draw their outputs from one distribution, the unlearned ones moved by `shift`."""
    run = make_run(folder, f"{number:08x}", method, seed, across=ASKED, **changes)
    for file in (run / "scores").glob("*.npz"):
        file.unlink()
    drawn = changes.get("unlearn_seed", seed)
    # A model is the same in every run that has it.
    roles = {"original": (0, seed), "unlearned": (1, seed, drawn, len(method))}
    roles |= {f"retrained_{k}": (2, seed, k) for k in range(references)}
    for role, names in roles.items():
        rng = np.random.default_rng(names)
        for split, index in rows.items():
            logits = rng.normal(size=(len(index), 3)).astype(np.float32)
            logits[:, 0] += shift if role == "unlearned" else 0
            np.savez(
                run / "scores" / f"{role}_{split}.npz", logits=logits, label=np.zeros(len(index), int), index=index
            )
    sums.write(run)
    return run


def report(folder):
    target = write([folder], folder / "report")
    table = target / "across.csv"
    across = pandas.read_csv(table, keep_default_na=False) if table.exists() else None
    return across, (target / "leaderboard.md").read_text(), (target / "report.html").read_text()


def test_models_are_joined_once_and_compared_with_their_null(tmp_path):
    for seed in range(4):
        seeded_run(tmp_path, seed, "retrain", seed)
        seeded_run(tmp_path, 16 + seed, "distill", seed, shift=6.0)
    seeded_run(tmp_path, 64, "retrain", 0, remarks=("the same models, evaluated again",))
    across, board, page = report(tmp_path)
    assert set(across["models"]) == {4} and set(across["references"]) == {8} and set(across["unlearned"]) == {4}
    assert (set(across["seeds"]), set(across["role"])) == ({4}, {"original", "unlearned"})
    found = across.set_index(["evaluation", "variant", "split", "metric"])
    near, far = (found.loc["klom", method, "forget", "klom_gaussian"] for method in ("retrain", "distill"))
    assert near["within_null"] == "yes" and far["within_null"] == "no" and far["value"] > 3 * far["null_high"]
    assert near["null"] == far["null"]
    score = found.loc["forgetting_score", "distill", "forget", "forgetting_score"]
    assert score["value"] < score["null_low"] and score["within_null"] == "no"
    assert re.search(r"\| null, 4 models a side \| [\d.]+ \([\d.]+ to [\d.]+\) \|", board)
    assert "8 retrained models; 4 unlearned ones, of 4 originals and 4 unlearning seeds" in board
    assert "<h4>klom</h4>" in page and "<h4>forgetting_score</h4>" in page and "A perfect method is there" in page


def test_one_original_under_many_seeds_counts_too(tmp_path):
    for number in range(4):
        seeded_run(tmp_path, number, "distill", 0, references=6, unlearn_seed=number)
    across, board, _ = report(tmp_path)
    assert set(across["variant"]) == {"distill"}, "one original is too few for a line of its own"
    assert set(across["seeds"]) == {1} and set(across["unlearn_seeds"]) == {4} and set(across["models"]) == {3}
    assert "4 unlearned ones, of one original and 4 unlearning seeds" in board


def test_too_few_models_are_told_with_what_to_type(tmp_path):
    seeded_run(tmp_path, 1, "distill", 0)
    across, board, page = report(tmp_path)
    said = (
        "klom needs 3 unlearned models or more of a method, and 6 retrained ones; distill has 1, there are 2 retrained "
        "ones. Try: -m 'seed=range(0,3)' reference.count=2."
    )
    assert across is None and said in board and "distill has 1" in page


def test_runs_that_forget_other_rows_are_left_out_and_said(tmp_path):
    for seed in range(4):
        seeded_run(tmp_path, seed, "distill", seed)
    seeded_run(tmp_path, 9, "distill", 4, rows={**ROWS, "forget": np.arange(21, 31)})
    across, board, _ = report(tmp_path)
    assert set(across["unlearned"]) == {4} and set(across["references"]) == {8}
    assert "1 of 5 runs have other rows in retain, forget or test" in board


def test_a_report_without_such_evaluations_has_no_such_table(tmp_path):
    make_run(tmp_path, "aaaaaaa1")
    across, board, _ = report(tmp_path)
    assert across is None and "klom" not in board


def test_they_need_retrained_models():
    for name in ("klom", "forgetting_score"):
        words = [*TINY, "method=none", f"eval=[standard,{name}]", "reference.count=0"]
        with pytest.raises(UserError, match=rf"eval={name} needs at least 1 retrained model(.|\n)*reference.count=1"):
            execute(prepare(words))


@pytest.mark.slow
def test_a_sweep_has_retrain_within_its_null(command):
    words = [*TINY, "method=retrain", "seed=range(0,3)", "reference.count=2", "eval=[standard,klom,forgetting_score]"]
    few = ["eval.klom.fewest=3", "eval.forgetting_score.fewest=3", "train.epochs=2"]
    done = command("run", "-m", *words, *few)
    assert done.returncode == 0, done.stderr
    assert "null, 3 models a side" in done.stdout
