"""The whole pipeline: one forward pass per role and split, nothing trained twice, equal bytes for equal runs."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas
import pytest

import unlearnbench
from unlearnbench.errors import UserError
from unlearnbench.request.compose import compose
from unlearnbench.request.config import build
from unlearnbench.runs import launch
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.tasks.image import ImageTask

TINY = ("dataset=synthetic", "model=tiny_cnn", "train.epochs=3", "method.epochs=2")


@pytest.fixture
def forwards(monkeypatch):
    """Count what is scored, by the number of examples."""
    counted = Counter()
    score = ImageTask.score

    def counting(self, model, index):
        if not np.isin(index, self.data.validation).all():  # of training curves
            counted[len(index)] += 1
        return score(self, model, index)

    monkeypatch.setattr(ImageTask, "score", counting)
    return counted


def request(outputs, *words):
    return prepare([f"outputs={outputs}", *TINY, *words])


def test_one_forward_per_role_and_split_and_none_for_a_cached_run(tmp_path, forwards):
    execute(request(tmp_path))
    retain, forget, test = 162, 54, 80
    assert forwards == {retain: 3, forget: 3 + 3, test: 3, 20: 3}  # roles; incompetent networks on forget, test_forget
    forwards.clear()
    assert execute(request(tmp_path)).reused
    assert not forwards


def test_another_method_takes_only_the_unlearning(tmp_path, forwards, monkeypatch):
    execute(request(tmp_path))
    forwards.clear()
    second = execute(request(tmp_path, "method=finetune", "method.epochs=1"))
    assert forwards == {162: 1, 54: 1, 80: 1}
    result = json.loads((second.folder / "result.json").read_text())
    assert result["reused"] == {"original": True, "retrained_0": True, "unlearned": False}


def test_another_forget_set_keeps_the_original(tmp_path):
    execute(request(tmp_path))
    other = execute(request(tmp_path, "forget=random"))
    reused = json.loads((other.folder / "result.json").read_text())["reused"]
    assert reused == {"original": True, "retrained_0": False, "unlearned": False}


def test_equal_runs_give_equal_bytes(tmp_path):
    files = []
    for place in ("a", "b"):
        outcome = execute(request(tmp_path / place, "reference.count=2"))
        files.append((outcome.folder.name, (outcome.folder / "metrics.csv").read_bytes()))
    assert files[0] == files[1]


def test_the_index_may_be_lost_and_the_run_is_still_known(tmp_path):
    first = execute(request(tmp_path))
    shutil.rmtree(tmp_path / "cache" / "runs")
    again = execute(request(tmp_path))
    assert again.reused and again.folder == first.folder


def test_seeds_share_the_forget_set_and_nothing_else(tmp_path):
    folders = [execute(request(tmp_path, "forget=random", f"seed={seed}")).folder for seed in (0, 1)]
    splits = [np.load(folder / "splits.npz") for folder in folders]
    assert np.array_equal(splits[0]["forget"], splits[1]["forget"])
    keys = [set(json.loads((folder / "result.json").read_text())["stage_keys"].values()) for folder in folders]
    assert not keys[0] & keys[1]


@pytest.mark.plots
def test_a_run_folder_holds_what_the_contract_says(tmp_path):
    folder = execute(request(tmp_path, "reference.count=2")).folder
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {"config.yaml", "metrics.csv", "result.json", "splits.npz", "run.log"} <= names
    assert {"model/model.safetensors", "model/config.json"} <= names
    assert {
        f"plots/{name}.png" for name in ("confusion", "accuracy_by_class", "membership", "training_curves")
    } <= names
    assert {"scores/original_retain.npz", "scores/retrained_1_test_forget.npz", "scores/unlearned_test.npz"} <= names
    rows = pandas.read_csv(folder / "metrics.csv")
    assert list(rows.columns) == [
        "run_id",
        "experiment",
        "dataset",
        "forget",
        "model",
        "method",
        "seed",
        "request",
        "role",
        "split",
        "metric",
        "value",
    ]
    assert rows["value"].notna().all()
    assert {"floor_accuracy", "gap_accuracy", "zrf", "mia_entropy_svc", "tug_of_war"} <= set(rows["metric"])
    scores = np.load(folder / "scores" / "unlearned_forget.npz")
    accuracy = rows.query("role == 'unlearned' and split == 'forget' and metric == 'accuracy'")["value"].item()
    assert accuracy == pytest.approx((scores["logits"].argmax(1) == scores["label"]).mean())


def test_python_gives_metrics_and_model(tmp_path):
    frame = unlearnbench.run([f"outputs={tmp_path}", *TINY]).metrics
    folder = next((tmp_path / "runs").glob("distill_*"))
    model = unlearnbench.load(folder)
    assert len(frame) and not model.training
    assert set(frame["experiment"]) == {""}
    from worlds import synthetic

    dataset = synthetic()
    data = dataset.load()
    from worlds import CPU

    scores = ImageTask(data, dataset, CPU, "linear", 50).score(model, np.load(folder / "splits.npz")["test"])
    kept = np.load(folder / "scores" / "unlearned_test.npz")
    assert np.allclose(scores.logits, kept["logits"], atol=1e-5)


def test_a_masked_model_is_loaded_with_its_mask(tmp_path):
    words = [f"outputs={tmp_path}", *TINY[:3], "method=masking"]
    unlearnbench.run(words)
    model = unlearnbench.load(next((tmp_path / "runs").glob("masking_*")))
    assert int((model.features.unit_mask == 0).sum()) > 0


def test_load_without_a_model_says_how_to_keep_it(tmp_path):
    unlearnbench.run([f"outputs={tmp_path}", *TINY, "save_model=false"])
    with pytest.raises(UserError, match="save_model=true"):
        unlearnbench.load(next((tmp_path / "runs").glob("distill_*")))


def test_a_diverged_run_is_a_row_with_its_step(tmp_path):
    words = [f"outputs={tmp_path}", *TINY[:3], "method=gradient_ascent", "method.optimizer.lr=1e30"]
    outcome = execute(prepare(words))
    assert outcome.status == "diverged" and "step" in outcome.reason
    assert not execute(prepare(words)).reused  # failures are tried again


def test_a_failed_run_keeps_its_traceback(tmp_path, monkeypatch):
    def broken(self, model, index):
        raise RuntimeError("the disk of dreams is full")

    monkeypatch.setattr(ImageTask, "score", broken)
    outcome = execute(request(tmp_path))
    assert outcome.status == "failed" and "disk of dreams" in outcome.reason
    assert "Traceback" in (outcome.folder / "run.log").read_text()


def test_an_interruption_leaves_no_half_run(tmp_path, monkeypatch):
    def interrupted(self, model, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageTask, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(request(tmp_path))
    assert not (tmp_path / "runs").exists()


def test_bf16_scores_are_close_to_fp32_with_an_exact_head(tmp_path):
    losses = []
    for precision in ("fp32", "bf16"):
        words = [f"outputs={tmp_path}", *TINY[:3], f"precision={precision}", "method=none"]
        folder = execute(prepare(words)).folder
        rows = pandas.read_csv(folder / "metrics.csv")
        losses.append(rows.query("role == 'original' and split == 'test' and metric == 'accuracy'")["value"].item())
    assert abs(losses[0] - losses[1]) < 0.1


def test_a_sweep_is_refused_from_python(tmp_path):
    with pytest.raises(UserError, match="sweep"):
        prepare([f"outputs={tmp_path}", "hydra.mode=MULTIRUN"])


def test_torch_that_does_not_fit_is_explained():
    with pytest.raises(UserError, match="do not fit together"), launch.torch_explained():
        raise RuntimeError("operator torchvision::nms does not exist")


def test_precision_is_part_of_the_keys(tmp_path):
    first = execute(request(tmp_path, "precision=fp32")).folder.name
    second = execute(request(tmp_path, "precision=bf16")).folder.name
    assert first != second


def test_names_and_numbers_of_a_class_are_the_same_run(tmp_path):
    first = execute(request(tmp_path, "forget.classes=[0]"))
    again = execute(request(tmp_path, "forget.classes=[class0]"))
    assert again.reused and again.folder == first.folder


def test_asking_for_the_model_later_adds_it_without_training(tmp_path):
    execute(request(tmp_path, "save_model=false"))
    again = execute(request(tmp_path, "save_model=true"))
    assert (again.folder / "model" / "model.safetensors").exists()
    assert set(json.loads((again.folder / "result.json").read_text())["reused"].values()) == {True}


@pytest.mark.plots
def test_a_run_without_figures_is_drawn_once_they_are_asked_for(tmp_path):
    plain = execute(request(tmp_path, "plots=false"))
    assert not (plain.folder / "plots").exists()
    drawn = execute(request(tmp_path))
    assert drawn.folder == plain.folder and (drawn.folder / "plots" / "membership.png").exists()
    assert set(json.loads((drawn.folder / "result.json").read_text())["reused"].values()) == {True}
    assert execute(request(tmp_path, "plots=false")).reused


@pytest.mark.plots
def test_jobs_of_a_sweep_are_drawn_where_its_report_shows_them(tmp_path):
    drawn = execute(replace(request(tmp_path), sweep_jobs=12))
    assert (drawn.folder / "plots" / "membership.png").exists()
    plain = execute(replace(request(tmp_path, "seed=1"), sweep_jobs=13))
    assert not (plain.folder / "plots").exists()
    assert execute(replace(request(tmp_path, "seed=1"), sweep_jobs=13)).reused


def test_aus_turns_to_the_retrained_model_where_test_has_no_image_of_the_forgotten_class(tmp_path):
    """With 20 test images of 30 classes: retrained keeps test and forgets the class, the original keeps both."""
    changes = ("classes=30", "train=900", "test=300", "limit_test=20", "noise=20.0")
    words = (*(f"dataset.{change}" for change in changes), "model=tiny_cnn", "train.epochs=6")
    data = build(compose(["dataset=synthetic", *words]).request.config["dataset"], "dataset").load()
    absent = int(np.setdiff1d(data.labels, data.labels[data.test])[0])
    found = {}
    for method in ("none", "retrain"):
        place = (f"outputs={tmp_path}", "dataset=synthetic", f"forget.classes=[{absent}]", f"method={method}")
        table = pandas.read_csv(execute(prepare([*place, *words])).folder / "metrics.csv")
        found[method] = table.set_index(["role", "split", "metric"])["value"].to_dict()
    original, retrained = ({k[1:]: v for k, v in found[m].items() if k[0] == "unlearned"} for m in found)
    assert ("test_forget", "accuracy") not in original and ("forget", "mia_auc") not in original
    assert original["forget", "aus"] == pytest.approx(1 / (1 + original["forget", "accuracy"]))
    assert retrained["forget", "accuracy"] == 0 and original["forget", "accuracy"] > 0.5
    kept = 1 - original["test", "accuracy"] + retrained["test", "accuracy"]
    assert retrained["forget", "aus"] == pytest.approx(kept)
    assert retrained["forget", "aus"] > original["forget", "aus"]
