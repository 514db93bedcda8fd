"""The harness: what it needs is said before anything trains, and lm-eval's numbers become rows."""

from __future__ import annotations

import importlib.util
import json

import pandas
import pytest
from jinja2 import UndefinedError

from unlearnbench.errors import UserError
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages.harnessed import Asked, numbers, read_local
from worlds import TINY

THERE = importlib.util.find_spec("lm_eval") is not None
NOTES = (
    "dataset=clinical_notes", "dataset.limit=200", "dataset.limit_test=60", "model.hidden=32", "model.layers=1",
    "train.epochs=1", "eval.generate=0", "plots=false", "save_model=false", "eval=[standard,harness]",
)  # fmt: skip
QUESTIONS = [
    {"question": f"What is {n} plus one?", "choices": [str(n + k) for k in (1, 2, 3, 4)], "answer": 0}
    for n in range(24)
]


def test_numbers_are_taken_by_metric_and_filter_without_standard_errors():
    found = numbers(
        {
            "wmdp": {"alias": "wmdp", "acc,none": 0.25, "acc_stderr,none": "N/A", "acc_norm,none": 0.5},
            "gsm8k": {"exact_match,strict-match": 0.1, "exact_match_stderr,strict-match": 0.01, "sample_len": 9},
        }
    )
    assert found == {"wmdp": {"acc": 0.25, "acc_norm": 0.5}, "gsm8k": {"exact_match_strict-match": 0.1}}


def test_local_data_replace_a_tasks_data_and_nothing_else(tmp_path):
    (tmp_path / "wmdp_bio").mkdir()
    for split in ("test", "dev-00000-of-00001"):
        (tmp_path / "wmdp_bio" / f"{split}.jsonl").write_text("{}\n")
    asked = Asked(tasks=("wmdp_bio",), limit=None, shots=None, chat=False, batch=8, root=tmp_path)
    (spec,) = asked.specs()[0]["task"]
    assert spec["task"] == "wmdp_bio" and spec["dataset_path"] == "json" and spec["dataset_name"] is None
    assert set(spec["dataset_kwargs"]["data_files"]) == {"test", "dev"}
    assert set(spec) == {"task", "dataset_path", "dataset_name", "dataset_kwargs"}


class Broken:
    """Stands in for lm-eval, which is not installed: it raises what lm-eval and datasets raise of malformed data."""

    def __init__(self, at_load=None, at_build=None):
        self.at_load, self.at_build = at_load, at_build

    def load(self, specs):
        if self.at_load:
            raise self.at_load
        return {"tasks": {"wmdp_bio": self}}

    def get_config(self, key):
        return None

    def set_config(self, key, value):
        self.shots = value

    def set_fewshot_seed(self, seed):
        pass

    def build_all_requests(self, limit):
        if self.at_build:
            raise self.at_build


@pytest.mark.parametrize("errors, said", [
    ({"at_load": KeyError("test")}, "KeyError: 'test'"),
    ({"at_build": UndefinedError("'question' is undefined")}, "UndefinedError: 'question' is undefined"),
    ({"at_build": IndexError("list index out of range")}, "IndexError: list index out of range"),
])  # fmt: skip
def test_malformed_local_data_are_the_users_mistake(errors, said, tmp_path):
    (tmp_path / "wmdp_bio").mkdir()
    (tmp_path / "wmdp_bio" / "test.jsonl").write_text('{"choices": []}\n')
    asked = Asked(tasks=("wmdp_bio",), limit=None, shots=2, chat=False, batch=8, root=tmp_path)
    with pytest.raises(UserError) as told:
        read_local(asked, Broken(**errors))
    assert f"cannot use the data of wmdp_bio. {said}\nTry: in {tmp_path}/wmdp_bio a file for each" in str(told.value)
    read_local(asked, Broken())


def test_images_are_refused(tmp_path):
    with pytest.raises(UserError, match="eval=harness needs text; dataset=synthetic is image"):
        execute(prepare([*TINY, "method=none", "eval=[standard,harness]", f"outputs={tmp_path}"]))


@pytest.mark.skipif(THERE, reason="lm-eval is installed")
def test_without_the_extra_the_message_says_what_to_install(tmp_path):
    with pytest.raises(UserError, match=r"needs lm-eval.*\nTry: pip install 'unlearnbench\[eval\]'"):
        execute(prepare([*NOTES, "method=none", f"outputs={tmp_path}"]))


@pytest.mark.slow
@pytest.mark.skipif(not THERE, reason="needs the extra `eval`")
def test_unknown_tasks_groups_and_missing_data_end_before_training(tmp_path):
    def run(*words):
        execute(prepare([*NOTES, "method=none", f"outputs={tmp_path / 'outputs'}", *words]))

    with pytest.raises(UserError, match="has no task 'wmdp_boi'"):
        run("eval.harness.tasks=[wmdp_boi]")
    with pytest.raises(UserError, match="wmdp is a group of tasks"):
        run("eval.harness.tasks=[wmdp]", f"eval.harness.root={tmp_path}")
    with pytest.raises(UserError, match="has no data for wmdp_bio"):
        run("eval.harness.tasks=[wmdp_bio]", f"eval.harness.root={tmp_path}")
    (tmp_path / "wmdp_bio").mkdir()
    (tmp_path / "wmdp_bio" / "test.jsonl").write_text('{"question": "cut o')
    with pytest.raises(UserError, match="cannot use the data of wmdp_bio"):
        run("eval.harness.tasks=[wmdp_bio]", f"eval.harness.root={tmp_path}")
    with pytest.raises(UserError, match="puts a prompt or a filter around it"):
        run("eval.harness.tasks=[wmdp_bio]", "method=prompt")


@pytest.mark.slow
@pytest.mark.skipif(not THERE, reason="needs the extra `eval`")
def test_a_run_asks_every_role_and_equal_models_get_equal_numbers(tmp_path):
    (tmp_path / "wmdp_bio").mkdir()
    (tmp_path / "wmdp_bio" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    words = ["eval.harness.tasks=[wmdp_bio]", f"eval.harness.root={tmp_path}", "method=none"]
    done = execute(prepare([*NOTES, *words, f"outputs={tmp_path / 'outputs'}"]))
    rows = pandas.read_csv(done.folder / "metrics.csv").set_index(["role", "split", "metric"])["value"]
    found = {role: rows[role, "wmdp_bio", "harness_acc"] for role in ("original", "retrained", "unlearned")}
    assert all(0 <= value <= 1 for value in found.values()) and found["original"] == found["unlearned"]
    gap = rows["unlearned", "wmdp_bio", "gap_harness_acc"]
    assert gap == pytest.approx(found["unlearned"] - found["retrained"])
