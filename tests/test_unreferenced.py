"""Runs without retrained models (reference.count=0): nothing is claimed against them, from the run to the report."""

from __future__ import annotations

import io
import json
import re

import pandas
import pytest
from rich.console import Console

from unlearnbench.report import write
from unlearnbench.results.table import show
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY

ALL = "eval=[standard,lira,relearn,quantise]"
TO_RETRAINED = ("gap_", "floor_", "js_to_retrained", "kl_from_retrained", "js_published", "activation", "tug_of_war")


def run(folder, *words):
    base = [*TINY, "plots=true", "method.epochs=1", "reference.count=0", f"outputs={folder}"]
    return execute(prepare([*base, *words])).folder


def printed(folder):
    console = Console(width=200, file=io.StringIO())
    show(folder, reused=False, console=console)
    return console.file.getvalue()


@pytest.mark.slow
@pytest.mark.plots
def test_nothing_is_claimed_against_retrained(tmp_path):
    folder = run(tmp_path, "method=finetune", "forget=random", ALL, "eval.lira.models=9")
    rows = pandas.read_csv(folder / "metrics.csv")
    names = {name for name in rows["metric"] if not name.startswith("gap_held_out_")}
    assert not [name for name in names if name.startswith(TO_RETRAINED)]
    assert not rows["role"].str.startswith("retrained").any()
    assert {"gap_held_out_accuracy", "js_to_original", "change_accuracy", "relearn_gain", "quantise_gain"} <= set(
        rows[rows["role"] == "unlearned"]["metric"]
    )
    result = json.loads((folder / "result.json").read_text())
    assert result["references"] == 0 and result["cost_ratio"] is None
    assert not [name for name in result["stage_keys"] if name.startswith("retrained")]
    assert not list((folder / "scores").glob("retrained*"))
    assert {file.stem for file in (folder / "plots").glob("*.png")} >= {"confusion", "membership", "accuracy_by_class"}
    said = printed(folder)
    assert "retrained" not in said.partition("no model was retrained")[0] and "ratio" not in said
    assert "gap_held_out_accuracy forget" in said and "js_to_original retain" in said


@pytest.mark.slow
@pytest.mark.plots
def test_a_report_ranks_nothing_and_says_what_is_unknown(tmp_path):
    for method in ("gradient_ascent", "finetune"):
        run(tmp_path, f"method={method}", "forget=class", "eval=[standard,quantise]")
    target = write([tmp_path / "runs"], tmp_path / "report")
    page, board = (target / "report.html").read_text(), (target / "leaderboard.md").read_text()
    lines = [line for line in board.splitlines() if line.startswith("| ")]
    assert lines[0].startswith("| method | retain accuracy | forget accuracy | test accuracy | forget less held-out |")
    assert [line.split(" | ")[0] for line in lines[1:4]] == ["| original", "| finetune", "| gradient_ascent"]
    for text in (page, board):
        assert "No model was retrained" in text and "alphabetical order" in text
        assert "mean gap" not in text and "cost ratio" not in text and "quantise_gain forget" in text
    assert not (target / "summary.csv").read_text().count("retrained")


def test_beside_a_run_with_references_it_has_a_board_of_its_own(tmp_path):
    run(tmp_path, "method=finetune")
    execute(prepare([*TINY, "method=gradient_ascent", f"outputs={tmp_path}"]))
    board = (write([tmp_path / "runs"], tmp_path / "report") / "leaderboard.md").read_text()
    ranked = re.sub(r"### Verdicts.*?(?=\n## |\Z)", "", board, flags=re.DOTALL)
    names = [line.split(" | ")[0] for line in ranked.splitlines() if line.startswith("| ")]
    assert names == [
        "| method",
        "| retrained",
        "| original",
        "| gradient_ascent",
        "| method",
        "| original",
        "| finetune",
    ]
    assert board.count("(without references)") == 1 and "nothing was retrained" not in board


def test_a_stream_without_references_has_held_out_rows_for_every_request(tmp_path):
    folder = run(tmp_path, "method=finetune", "forget=stream")
    rows = pandas.read_csv(folder / "metrics.csv")
    assert not rows["role"].str.startswith("retrained").any()
    assert set(rows[rows["metric"] == "gap_held_out_accuracy"]["request"]) == {1, 2}


@pytest.mark.slow
def test_a_run_on_text_without_references(tmp_path):
    words = ["dataset=clinical_notes", "model=llama_tiny", "dataset.limit=120", "dataset.limit_test=24"]
    words += ["train.epochs=1", "method=grad_diff", "reference.count=0", f"outputs={tmp_path}", "eval.generate=2"]
    folder = execute(prepare(words)).folder
    assert json.loads((folder / "result.json").read_text())["premise"] is None
    assert "| retrained |" not in (folder / "transcripts.md").read_text()
    assert "premise" not in printed(folder)
    write([tmp_path / "runs"], tmp_path / "report")
