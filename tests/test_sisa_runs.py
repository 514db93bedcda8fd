"""Runs of sisa from end to end: its cost, the ensemble that it leaves, and the forms in which that is exported."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import unlearnbench
from unlearnbench.models.ensemble import Ensemble, members
from unlearnbench.runs.export import Wish, export
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY

pytestmark = pytest.mark.slow

TEXT = (
    "dataset=clinical_notes", "dataset.limit=120", "dataset.limit_test=48", "dataset.limit_validation=20",
    "model.hidden=16", "model.vocabulary=600", "train.epochs=2", "eval.generate=4",
)  # fmt: skip


def run(outputs, *words):
    outcome = execute(prepare([f"outputs={outputs}", "method=sisa", *words]))
    return outcome.folder, json.loads((outcome.folder / "result.json").read_text())


def test_a_run_on_images_counts_the_request_and_leaves_its_ensemble(tmp_path):
    folder, result = run(tmp_path, *TINY, "forget=random", "eval=[standard,relearn,quantise]")
    prepared, whole = result["preparation_seconds"]["unlearned"], result["seconds"]["unlearned"]
    assert 0 < prepared < whole and result["preparation_seconds"]["original"] == 0
    ratio = (whole - prepared - result["validation_seconds"]["unlearned"]) / (
        result["seconds"]["retrained_0"] - result["validation_seconds"]["retrained_0"]
    )
    assert result["cost_ratio"] == pytest.approx(ratio)
    assert any("preparation_seconds" in remark for remark in result["remarks"])
    assert len(result["tables"]["shards"]) == len(members(unlearnbench.load(folder)))
    model, (place,) = unlearnbench.load(folder), export(folder, Wish(to=str(tmp_path / "out.safetensors")))[:1]
    assert isinstance(model, Ensemble) and place.startswith("written")
    assert any("models that answer with" in line for line in export(folder, Wish(to=str(tmp_path / "out.pt"))))
    kept = torch.load(tmp_path / "out.pt", weights_only=True)
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())
    export(folder, Wish(to=str(tmp_path / "whole")))
    assert (tmp_path / "whole" / "model.safetensors").is_file()


def test_a_run_on_text_leaves_folders_that_transformers_reads(tmp_path):
    from transformers import AutoModelForCausalLM

    folder, result = run(tmp_path, *TEXT)
    model = unlearnbench.load(folder)
    assert isinstance(model, Ensemble) and result["weights_changed"]
    first = AutoModelForCausalLM.from_pretrained(folder / "model" / "member_0").state_dict()
    assert all(torch.equal(value, first[name]) for name, value in members(model)[0].state_dict().items())
    export(folder, Wish(to=str(tmp_path / "whole")))
    assert sorted(place.name for place in (tmp_path / "whole").glob("member_*")) == [
        f"member_{number}" for number in range(len(members(model)))
    ]
    again, _ = run(tmp_path, *TEXT)
    assert again == folder
    logits = np.load(folder / "scores" / "unlearned_forget.npz")["logits"]
    assert np.isfinite(logits[logits != -np.inf]).all()
