"""A user's own chat rows from end to end: one command, as it is typed."""

from __future__ import annotations

import csv
import json

import pytest
from chatsets import conversations, json_lines, questions

TINY = (
    "dataset=chat", "dataset.root=rows.jsonl", "model.hidden=16", "model.vocabulary=600", "train.epochs=2",
    "eval.generate=4", "plots=false",
)  # fmt: skip
OPTION_METRICS = ("accuracy", "f1", "precision", "zrf", "js_", "kl_", "mia_entropy", "tug_of_war", "flip_rate")


def measured(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return {(row["role"], row["split"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}


FEW = ("eval.relearn.steps=2", "eval.relearn.seeds=1", "eval.variants.shots=1")


@pytest.mark.slow
def test_the_rows_of_one_person_are_forgotten_by_one_command(command, tmp_path):
    json_lines(tmp_path / "rows.jsonl", conversations(140))
    words = (*TINY, "plots=true", "forget=column", "forget.column=person", "forget.value=3", "reference.count=2")
    audits = ("eval=[standard,relearn,quantise,variants,lira]", "eval.lira.models=9")
    done = command("run", "-m", *words, "method=npo,prompt,icul", *audits, *FEW)
    assert done.returncode == 0, done.stderr
    folders = {file.parent for file in (tmp_path / "outputs" / "runs").glob("npo_*/result.json")}
    (folder,) = folders
    found = measured(folder)
    for metric in ("answer_nll", "rouge_l", "exact_memorisation", "extraction_strength"):
        assert ("unlearned", "forget", f"gap_{metric}") in found and ("retrained", "test", f"floor_{metric}") in found
    assert ("unlearned", "forget", "gap_mia_auc") in found and ("unlearned", "forget", "gap_relearn_area") in found
    assert not [metric for _, _, metric in found if metric.removeprefix("gap_").startswith(OPTION_METRICS)]
    assert {file.name for file in (folder / "plots").iterdir()} == {
        "membership.png", "relearning.png", "training_curves.png",
    }  # fmt: skip
    page = (folder / "transcripts.md").read_text()
    assert "user: Who is there?" in page and "chooses" not in page and "corrected" not in page
    assert json.loads((folder / "result.json").read_text())["premise"] is None
    (report,) = (tmp_path / "outputs" / "sweeps").glob("*/report")
    board = (report / "leaderboard.md").read_text()
    assert "| method | retain NLL | forget NLL | test NLL | mean gap |" in board and "in answer NLL" in board
    assert "accuracy" not in board.replace("| weights", "") and "flip" not in board
    assert "icul needs corrected answers" in (report / "runs.csv").read_text()
    assert "<b>mean gap</b>" not in (report / "report.html").read_text()


@pytest.mark.slow
def test_plain_texts_and_rows_with_options_run_too(command, tmp_path):
    json_lines(tmp_path / "rows.jsonl", [{"text": f"Train {number} left at {number % 12}."} for number in range(60)])
    done = command("run", *TINY, "method=grad_diff", "forget.fraction=0.2")
    assert done.returncode == 0, done.stderr
    assert "answer_nll forget" in done.stdout and "rouge_l" not in done.stdout and "accuracy" not in done.stdout
    assert "plain texts" in command("run", *TINY, "method=prompt", "forget.fraction=0.2").stdout
    rows = [{**row, "options": [row["answer"], "Nowhere."]} for row in questions(60)]
    json_lines(tmp_path / "rows.jsonl", rows)
    done = command("run", *TINY, "method=distill", "forget.fraction=0.2")
    assert done.returncode == 0, done.stderr
    assert "accuracy forget" in done.stdout and "zrf forget" in done.stdout and "corrected" not in done.stdout


@pytest.mark.slow
def test_mistakes_in_the_words_end_before_anything_is_written(command, tmp_path):
    json_lines(tmp_path / "rows.jsonl", conversations(30))
    for words, said in (
        (("dataset=chat",), "dataset.root is not set"),
        ((*TINY, "forget=column", "forget.column=preson"), "unknown column 'preson'. Did you mean 'person'?"),
        ((*TINY, "forget=column", "forget.column=person", "forget.value=99"), "would forget nothing"),
        ((*TINY, "dataset.form=question"), "dataset.form=question needs question and answer; "),
        ((*TINY, "forget=class", "forget.classes=[0]"), "forget=class needs classes"),
        ((*TINY, "dataset.test=0"), "0 test rows"),
    ):
        done = command("run", *words)
        assert done.returncode == 2 and said in done.stderr, (words, done.stderr)
        assert not (tmp_path / "outputs").exists()
