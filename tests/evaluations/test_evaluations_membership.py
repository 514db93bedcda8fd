"""RMIA, calibrated, min_k, zlib and privleak in runs: the nulls, and what is refused before anything trains."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas
import pytest

from unlearnbench.errors import UserError, WrongKind
from unlearnbench.evaluations.evaluation import check_held_out
from unlearnbench.forget.classes import ByClass
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.request.catalogue import entries
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY, synthetic, world

IMAGES = (
    "dataset=fashion", "dataset.limit=300", "model=tiny_cnn", "train.epochs=60", "train.batch_size=16",
    "train.optimizer.lr=0.05", "forget=random", "forget.fraction=0.3",
    "reference.count=3", "eval=[standard,rmia,calibrated]", "plots=false",
)  # fmt: skip
TEXT = (
    "dataset=clinical_notes", "model=llama_tiny", "dataset.limit=120", "dataset.limit_test=120", "forget=random",
    "forget.fraction=0.3", "train=tiny_language", "train.epochs=15", "reference.count=2",
    "eval=[standard,rmia,min_k,zlib,privleak]", "eval.generate=0", "plots=false",
)  # fmt: skip


def rows(folder):
    table = pandas.read_csv(folder / "metrics.csv")
    return table[table["split"] == "forget"].set_index(["role", "metric"])["value"]


@pytest.mark.parametrize("name, count", [("rmia", 1), ("calibrated", 0), ("calibrated", 1)])
def test_too_few_retrained_models_are_refused(name, count, tmp_path):
    words = [*TINY, f"eval=[standard,{name}]", f"reference.count={count}", f"outputs={tmp_path / 'out'}"]
    with pytest.raises(UserError, match=rf"eval={name} needs at least 2 retrained models.*\nTry: reference.count=2"):
        execute(prepare(words))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["min_k", "zlib", "privleak"])
def test_attacks_on_tokens_need_text(name, tmp_path):
    with pytest.raises(WrongKind, match=f"eval={name} needs text; dataset=synthetic is image"):
        execute(prepare([*TINY, f"eval=[standard,{name}]", f"outputs={tmp_path}"]))


def test_the_list_says_which_evaluations_are_for_text():
    kinds = {entry.name: entry.kind for entry in entries("evaluations")}
    assert kinds["min_k"] == kinds["zlib"] == kinds["privleak"] == "text" and kinds["rmia"] == kinds["standard"] == ""


def test_held_out_rows_of_the_kind_are_needed():
    dataset = synthetic()
    here = world(dataset, dataset.load(), TinyCNN(checkpoint=None), ByClass(classes=(0,), seed=0))
    check_held_out("rmia", here)
    labels = here.bench.data.labels
    few = np.setdiff1d(here.splits.test, here.splits.test_forget[1:])
    splits = replace(here.splits, test=few, test_forget=here.splits.test_forget[:1])
    assert (labels[few] == 0).sum() == 1
    with pytest.raises(UserError, match=r"the test rows have 1 such row.\nTry: a larger dataset.limit_test"):
        check_held_out("rmia", replace(here, splits=splits))


@pytest.mark.slow
def test_images_retrain_is_within_its_null_and_none_is_not(tmp_path):
    found = {}
    for method in ("none", "retrain"):
        found[method] = rows(execute(prepare([*IMAGES, f"method={method}", f"outputs={tmp_path}"])).folder)
    for name in ("rmia_auc", "calibrated_auc"):
        none, retrain = (found[method]["unlearned", f"gap_{name}"] for method in ("none", "retrain"))
        floor = found["none"]["retrained", f"floor_{name}"]
        assert none > 0.1 > abs(retrain) and none > 3 * floor, (name, none, retrain, floor)
        assert found["none"]["unlearned", name] == found["none"]["original", name]
        assert found["none"]["retrained", name] == pytest.approx(0.5, abs=0.06)
    kinds = [json.loads(file.read_text())["kind"] for file in (tmp_path / "cache" / "stages").glob("*/facts.json")]
    assert kinds.count("train") == 4  # the original and three retrained models: nothing else


@pytest.mark.slow
def test_text_retrain_is_within_its_null_and_none_is_not(tmp_path):
    found = {}
    for method in ("none", "retrain"):
        found[method] = rows(execute(prepare([*TEXT, f"method={method}", f"outputs={tmp_path}"])).folder)
    for name in ("rmia_auc", "min_k_auc", "min_k_plus_plus_auc", "zlib_auc"):
        none, retrain = (found[method]["unlearned", f"gap_{name}"] for method in ("none", "retrain"))
        assert none > 0.1 > abs(retrain), (name, none, retrain)
    none, retrain = (found[method]["unlearned", "privleak"] for method in ("none", "retrain"))
    assert none < -20 < -abs(retrain), (none, retrain)
    assert found["none"]["original", "privleak"] == none and ("retrained", "floor_privleak") in found["none"]
