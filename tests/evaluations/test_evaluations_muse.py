"""MUSE's evaluation in a run: what the original knows shows, and a data set without its questions is refused."""

from __future__ import annotations

import pandas
import pytest
from muse_folder import json_copy

from unlearnbench.errors import UserError
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages.continuing import TOGETHER, before, together

NOTES = ("dataset=clinical_notes", "model=llama_tiny", "dataset.limit=60", "dataset.limit_test=20")
SMALL = (
    "dataset.context=256", "model.hidden=32", "model.layers=1", "train.epochs=30", "plots=false", "save_model=false",
    "eval.muse.verbmem_tokens=24", "eval.muse.knowmem_tokens=8",
)  # fmt: skip


def test_prompts_go_together_by_length_and_none_is_left_out():
    lengths = [5, TOGETHER, 3, TOGETHER // 2 + 1, 4]
    assert list(together(lengths, 2)) == [[2, 4], [0], [3], [1]]
    assert sorted(place for places in together(lengths, 9) for place in places) == [0, 1, 2, 3, 4]


def test_what_is_written_ends_at_the_first_stop():
    assert before("12 pounds\nQuestion: why\n\nmore", ("\n\n", "\nQuestion")) == "12 pounds"
    assert before("\n\nlate", ("\n\n",)) == "" and before("all", ("\n\n",)) == "all"


def test_another_data_set_is_told_what_has_the_questions(tmp_path):
    with pytest.raises(UserError, match=r"(?s)eval=muse asks questions.*Try: dataset=muse_news dataset\.root=FOLDER"):
        execute(prepare([*NOTES, "method=none", "eval=[standard,muse]", f"outputs={tmp_path}"]))


@pytest.mark.slow
def test_a_run_measures_every_role_and_none_stays_far_from_retrained(tmp_path):
    folder = json_copy(tmp_path / "muse")
    words = ["dataset=muse_news", f"dataset.root={folder}", *SMALL, "eval=[standard,muse]", "reference.count=2"]
    done = execute(prepare([*words, "method=none", f"outputs={tmp_path / 'outputs'}"]))
    rows = pandas.read_csv(done.folder / "metrics.csv").set_index(["role", "split", "metric"])["value"]
    assert rows["unlearned", "forget_privleak", "muse_privleak"] < -80
    assert rows["unlearned", "forget_privleak", "muse_privleak"] == rows["original", "forget_privleak", "muse_privleak"]
    assert abs(rows["retrained", "forget_privleak", "floor_muse_privleak"]) < 60
    for split in ("forget_verbmem", "forget_knowmem", "retain_knowmem"):
        assert 0 <= rows["retrained", split, "muse_rouge_l"] <= 1
        assert rows["original", split, "muse_rouge_l"] == rows["unlearned", split, "muse_rouge_l"]
