"""RWKU's evaluation: its numbers by hand, what it refuses, and a run without references."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from rwku_folder import copy_of, parts

from measured import value
from unlearnbench.errors import UserError
from unlearnbench.evidence import Evidence, Scores
from unlearnbench.runs.launch import execute, prepare

NOTES = ("dataset=clinical_notes", "model=llama_tiny", "dataset.limit=60", "dataset.limit_test=20")
SMALL = (
    "dataset=rwku", "dataset.context=128", "model.hidden=32", "model.layers=1", "train.epochs=6", "plots=false",
    "save_model=false", "eval.rwku.tokens=8", "eval=[standard,rwku]", "reference.count=0", "method=none",
)  # fmt: skip


def scores(**extras: np.ndarray) -> Scores:
    count = len(next(iter(extras.values())))
    return Scores(np.zeros((count, 1)), np.zeros(count, np.int64), np.arange(count), extras)


def test_rouge_l_is_recall_and_the_loss_a_mean_over_texts():
    written = scores(generated=np.array(["in Bangor Maine", "no"]), reference=np.array(["Bangor", "Ardley town"]))
    texts = scores(answer_log_probability=np.array([[-1.0, -3.0], [-4.0, np.nan]]))
    subject = {"forget_level1": written, "mia_forget": texts}
    one = Evidence(subject, subject, (), (), False)
    assert value("rwku_rouge_l", one, "forget_level1") == 0.5
    assert value("rwku_loss", one, "mia_forget") == 3


def test_another_data_set_and_another_person_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"(?s)eval=rwku asks probes.*Try: dataset=rwku dataset\.root=FOLDER"):
        execute(prepare([*NOTES, "method=none", "eval=[standard,rwku]", f"outputs={tmp_path}"]))
    rows = parts()
    rows["forget_level3"] = [row for row in rows["forget_level3"] if row["subject"] != "Ada Moss"]
    folder = copy_of(tmp_path / "rwku", rows)
    words = [*SMALL, f"dataset.root={folder}", "forget.value=Ada Moss", f"outputs={tmp_path / 'outputs'}"]
    with pytest.raises(UserError, match="forget_level3 asks nothing about Ada Moss"):
        execute(prepare(words))


@pytest.mark.slow
def test_a_run_without_references_asks_the_probes_about_whom_is_forgotten(tmp_path):
    folder = copy_of(tmp_path / "rwku")
    done = execute(prepare([*SMALL, f"dataset.root={folder}", f"outputs={tmp_path / 'outputs'}"]))
    rows = pandas.read_csv(done.folder / "metrics.csv")
    mine = rows[rows["metric"].str.startswith("rwku")].set_index(["role", "split", "metric"])["value"]
    assert {split for _, split, _ in mine.index} == {
        "forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2",
        "mia_forget", "mia_retain",
    }  # fmt: skip
    assert mine["original", "mia_forget", "rwku_loss"] == mine["unlearned", "mia_forget", "rwku_loss"]
