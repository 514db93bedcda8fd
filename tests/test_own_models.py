"""A user's own language model from end to end: what is the original, where retrained starts, what every table says."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

from unlearnbench.contracts import DataInfo
from unlearnbench.models import adapter, weights
from unlearnbench.report import write
from unlearnbench.results.table import show
from unlearnbench.runs.export import Wish, export
from unlearnbench.runs.launch import execute, prepare
from worlds import LORA, llama, text_task

pytestmark = pytest.mark.slow

INFO = DataInfo(kind="text", classes=("yes", "no"), train=10, test=10, shape=())
WORDS = (
    "dataset=clinical_notes", "dataset.limit=120", "dataset.limit_test=48", "dataset.limit_validation=20", "model=hf",
    "model.adapter.r=4", "train.optimizer.max_steps=4", "train.optimizer.lr=1e-2", "train.batch_size=16",
    "eval.generate=0", "precision=fp32",
)  # fmt: skip
STEPS = ("method=npo", "method.optimizer.max_steps=3", "method.optimizer.lr=1e-2", "method.batch_size=8")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base in 16 bits, a model that was trained from it in 32, and an adapter for it."""
    target = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    base = llama().build(INFO).to(torch.bfloat16)
    base.save_pretrained(target / "base")
    text_task().encoder.tokenizer.save_pretrained(target / "base")
    student = adapter.attach(copy.deepcopy(base).float(), LORA)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2)
    student.save_pretrained(target / "tuned-adapter")
    weights.merged(student).save_pretrained(target / "tuned")
    return target


def run(outputs: Path, places: Path, *words: str) -> tuple[Path, dict]:
    given = [f"outputs={outputs}", f"model.path={places / 'base'}", *WORDS, *words]
    outcome = execute(prepare(given))
    return outcome.folder, json.loads((outcome.folder / "result.json").read_text())


def scores(folder: Path, role: str) -> np.ndarray:
    found: np.ndarray = np.load(folder / "scores" / f"{role}_test.npz")["logits"]
    return found


@pytest.mark.parametrize("r", ["0", "4"])
def test_the_fine_tuned_model_is_the_original_and_retrained_starts_from_the_base(places, tmp_path, r):
    adapter_ = f"model.adapter.r={r}"
    clean, of_base = run(tmp_path, places, "method=none", "model.base=clean", adapter_)
    for name in ("tuned", "tuned-adapter"):
        folder, result = run(tmp_path, places, *STEPS, f"model.checkpoint={places / name}", adapter_, "save_model=true")
        assert (result["status"], result["model"], result["base_note"]) == ("done", name, "")
        assert folder.name.startswith(f"npo_{name}_clinical_notes_")
        assert result["stage_keys"]["retrained_0"] == of_base["stage_keys"]["retrained_0"]  # the very same stage
        assert np.array_equal(scores(folder, "retrained"), scores(clean, "retrained"))
        assert not np.allclose(scores(folder, "original"), scores(clean, "original"), atol=0.01)
        export(folder, Wish(to=str(tmp_path / name)))
        AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype="auto")
        scored, other = run(
            tmp_path, places, "method=external", f"method.path={tmp_path / name}", f"model.checkpoint={places / name}",
            adapter_,
        )  # fmt: skip
        assert other["method"] == f"external:{name}" and other["cost_ratio"] is None
        assert np.array_equal(scores(scored, "unlearned"), scores(folder, "unlearned"))


def test_a_base_of_which_nobody_knows_is_named_in_every_table(places, tmp_path):
    folder, result = run(tmp_path, places, "method=none", "model.base=unknown")
    clean, known = run(tmp_path, places, "method=none", "model.base=clean")
    assert folder != clean and known["base_note"] == ""
    assert result["stage_keys"] == known["stage_keys"]  # no number depends on it
    said = "may have seen the forget set (model.base=unknown)"
    printed = Console(file=io.StringIO(), width=200)
    show(folder, reused=False, console=printed)
    assert said in printed.file.getvalue() and said in result["base_note"]  # type: ignore[attr-defined]
    report = write([tmp_path / "runs"], tmp_path / "report")
    table = pandas.read_csv(report / "runs.csv", keep_default_na=False)
    assert sorted(said in note for note in table["base_note"]) == [False, True]
    assert (report / "leaderboard.md").read_text().replace("\\", "").count(said) == 1
    assert (report / "report.html").read_text().count(said) == 1
