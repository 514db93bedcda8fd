"""U-LiRA and LiRA: retraining cannot be told, doing nothing can, and nothing is trained twice."""

from __future__ import annotations

import json

import pandas
import pytest

from unlearnbench.errors import UserError
from unlearnbench.request.compose import compose
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.runs.sweep import Sweep
from unlearnbench.runs.sweeping import launch
from worlds import TINY

FEW = ("eval=[standard,lira,ulira,rmia]", "eval.lira.models=9", "eval.ulira.models=9")
KNOWN = ("dataset=synthetic", "model=tiny_cnn", "train.epochs=30", "dataset.train=120", "dataset.noise=120")


def numbers(folder):
    rows = pandas.read_csv(folder / "metrics.csv")
    return rows.set_index(["role", "split", "metric"])["value"]


def kinds(outputs):
    return [json.loads(file.read_text())["kind"] for file in (outputs / "cache" / "stages").glob("*/facts.json")]


def test_a_run_has_rows_of_both_and_trains_its_shadows_once(tmp_path):
    done = execute(
        prepare([*TINY, "train.epochs=1", "method=finetune", "method.epochs=1", *FEW, f"outputs={tmp_path}"])
    )
    found = numbers(done.folder)
    assert "ulira_klom" not in found.index.get_level_values("metric")  # three models of a kind have no halves
    for split in ("forget", "retain"):
        assert 0 <= found["unlearned", split, "ulira_accuracy"] <= 1 and 0 <= found["original", split, "lira_auc"] <= 1
        assert -1 <= found["original", split, "memorised"] <= found["original", split, "memorised_p95"] <= 1
    assert kinds(tmp_path).count("shadows") == 2 and kinds(tmp_path).count("forgotten") == 2
    used = json.loads((done.folder / "result.json").read_text())["evaluations"]["rmia"]
    assert used["against"] == "ensemble" and used["references"] == 3 and used["members"] > 20
    gap = found["unlearned", "forget", "rmia_auc"] - found["retrained", "forget", "rmia_auc"]
    assert found["unlearned", "forget", "gap_rmia_auc"] == pytest.approx(gap)


def test_an_ensemble_that_nobody_trains_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has neither.\nTry: 'eval=\[standard,lira,rmia\]'"):
        execute(
            prepare([*TINY, "method=none", "eval=[standard,rmia]", "eval.rmia.against=ensemble", f"outputs={tmp_path}"])
        )


def test_a_method_that_cannot_forget_rows_of_all_classes_has_no_rows(tmp_path, caplog):
    words = ("method=unsir", "forget=class", "eval=[standard,ulira]", "eval.ulira.models=9")
    done = execute(prepare([*TINY, "train.epochs=1", *words, f"outputs={tmp_path}"]))
    assert done.status == "done" and "eval=ulira has no rows" in caplog.text
    assert not [name for name in numbers(done.folder).index if name[2].startswith("ulira")]


def test_a_checkpoint_brings_no_training(tmp_path):
    first = execute(prepare([*TINY, "train.epochs=1", "method=none", "save_model=true", f"outputs={tmp_path}"]))
    words = [*TINY, f"model.checkpoint={first.folder}/model", "method=finetune", *FEW, f"outputs={tmp_path}"]
    with pytest.raises(UserError, match="repeats the original's training"):
        execute(prepare(words))


@pytest.mark.slow
def test_retraining_sits_at_the_null_and_doing_nothing_does_not(tmp_path):
    words = [*KNOWN, "eval=[standard,lira,ulira,rmia]", "eval.ulira.models=48", "eval.lira.models=48", "forget=random"]
    sweep = [*words, f"outputs={tmp_path}", f"hydra.sweep.dir={tmp_path}/sweep"]
    _, code = launch(Sweep([*sweep, "method=none,retrain"], (), ()), compose([*sweep, "method=none"], sweep=True))
    assert code == 0
    none, retrain = (numbers(next((tmp_path / "runs").glob(f"{name}_*"))) for name in ("none", "retrain"))
    assert abs(retrain["unlearned", "forget", "ulira_accuracy"] - 0.5) < 0.03
    assert retrain["unlearned", "forget", "ulira_klom"] < 1.5 * retrain["unlearned", "forget", "ulira_klom_null"]
    assert none["unlearned", "forget", "ulira_klom"] > 2 * none["unlearned", "forget", "ulira_klom_null"]
    assert none["unlearned", "forget", "ulira_accuracy"] > 0.6 and none["original", "forget", "memorised"] > 0.02
    assert none["retrained", "forget", "rmia_auc"] == pytest.approx(0.5, abs=0.1)  # 60 rows of each kind
    assert none["unlearned", "forget", "gap_rmia_auc"] > 0.1 > abs(retrain["unlearned", "forget", "gap_rmia_auc"])
    assert kinds(tmp_path).count("shadows") == 6 and kinds(tmp_path).count("forgotten") == 12
    alone = [word for word in words if "lira" not in word or "ulira.models" in word]
    again = execute(prepare([*alone, "method=none", "eval=[standard,ulira]", f"outputs={tmp_path}"]))
    assert again.status == "done" and kinds(tmp_path).count("shadows") == 6
