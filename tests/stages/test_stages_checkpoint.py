"""One's own checkpoint as the original: a run's folder for the second request, and no validation part."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from unlearnbench.data.synthetic import Synthetic
from unlearnbench.errors import UserError
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.report import write
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY, image_info

FIRST, SECOND = [2, 3, 5, 8], [4, 6, 9]


def run(folder, *words):
    return execute(prepare([*TINY, "method.epochs=1", "reference.count=0", f"outputs={folder}", *words])).folder


@pytest.fixture
def lists(tmp_path):
    for name, rows in (("first", FIRST), ("second", SECOND)):
        (tmp_path / f"{name}.txt").write_text("\n".join(map(str, rows)))
    return tmp_path


@pytest.mark.parametrize("method", ["finetune", "masking"])
def test_the_second_request_starts_from_the_first_ones_model(method, lists, tmp_path):
    base = [*TINY, "reference.count=0", f"outputs={tmp_path}", "forget=list", f"method={method}"]
    first = execute(prepare([*base, f"forget.file={lists / 'first.txt'}"])).folder
    more = [f"forget.file={lists / 'second.txt'}", f"forget.already=[{lists / 'first.txt'}]"]
    second = execute(prepare([*base, *more, f"model.checkpoint={first}"])).folder
    scores = (first / "scores" / "unlearned_test.npz", second / "scores" / "original_test.npz")
    assert np.allclose(*(np.load(file)["logits"] for file in scores), atol=1e-5)
    splits = dict(np.load(second / "splits.npz"))
    assert splits.pop("already").tolist() == FIRST and splits["forget"].tolist() == SECOND
    assert not any(np.isin(FIRST, part).any() for part in splits.values())
    by_file = prepare([*base, *more, f"model.checkpoint={first / 'model' / 'model.safetensors'}"])
    assert execute(by_file).folder == second
    result = json.loads((second / "result.json").read_text())
    assert result["checkpoint"]["seen"] == len(splits["retain"]) + len(SECOND)
    assert result["checkpoint"]["unseen"] == {"validation": len(splits["validation"]), "test": 80, "already": 4}
    assert load_file(second / "model" / "model.safetensors")


def test_the_report_says_what_the_checkpoint_is_taken_to_have_seen(tmp_path):
    weights = {"state_dict": TinyCNN(checkpoint=None).build(image_info(8, 1, 4)).state_dict()}
    torch.save({**weights, "args": argparse.Namespace(lr=0.1)}, tmp_path / "mine.pth.tar")
    run(tmp_path, "method=finetune", f"model.checkpoint={tmp_path / 'mine.pth.tar'}")
    target = write([tmp_path / "runs"], tmp_path / "report")
    for name in ("leaderboard.md", "report.html"):
        said = (target / name).read_text()
        assert "is taken to have been trained on all" in said and "80 test rows" in said


@pytest.mark.slow
def test_without_a_validation_part_all_rows_are_trained_on(lists, tmp_path, monkeypatch):
    load = Synthetic.load

    def everything(self):
        data = load(self)
        rows = np.union1d(data.train, data.validation)
        return replace(data, train=rows, validation=np.empty(0, dtype=np.int64))

    monkeypatch.setattr(Synthetic, "load", everything)
    torch.save(TinyCNN(checkpoint=None).build(image_info(8, 1, 4)).state_dict(), tmp_path / "mine.pt")
    mine = f"model.checkpoint={tmp_path / 'mine.pt'}"
    for words in (["forget=class"], ["forget=random"], ["forget=list", f"forget.file={lists / 'first.txt'}"]):
        folder = run(tmp_path, "method=finetune", mine, *words, "eval=[standard,relearn]")
        result = json.loads((folder / "result.json").read_text())
        assert result["checkpoint"]["seen"] == 240 and result["checkpoint"]["unseen"]["validation"] == 0
        assert "validation" not in result["checkpoint"]["text"]
    trained = execute(prepare([*TINY, "method=finetune", "forget=class", f"outputs={tmp_path}"])).folder
    assert json.loads((trained / "result.json").read_text())["status"] == "done"
    with pytest.raises(UserError, match="has no validation part to score"):
        run(tmp_path, "method=finetune", mine, "eval.held_out=validation")
