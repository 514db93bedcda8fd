"""Trackers are told of finished runs, each once; where one fails, the run is there all the same."""

from __future__ import annotations

import importlib.util
import json
import logging
import math

import pytest

import unlearnbench
from unlearnbench.errors import UserError
from unlearnbench.request.compose import compose
from unlearnbench.results.rows import read_metrics
from unlearnbench.track.tracked import tracked
from worlds import TINY

LINE = [*TINY, "method=finetune", "method.epochs=1"]
PLUGIN = '''
"""A tracker of somebody else: it appends names to a file, and fails where it is told to."""
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True, kw_only=True)
class Notes:
    file: str
    fails: bool

    def check(self):
        pass

    def send(self, run, place):
        if self.fails:
            raise ConnectionError("nobody answers")
        with Path(self.file).open("a") as file:
            file.write(f"{run.name} {run.tags['method']} {run.final['unlearned/accuracy/forget']}\\n")
'''


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The outputs of a finished run, and the run."""
    outputs = tmp_path_factory.mktemp("outputs")
    return outputs, unlearnbench.run([*LINE, f"outputs={outputs}"])


@pytest.fixture
def plugin(tmp_path):
    """The sources of a tracker that is a plugin, trusted in this test alone."""
    (tmp_path / "c" / "track").mkdir(parents=True)
    (tmp_path / "c" / "track" / "notes.yaml").write_text(
        f"# @package track.notes\n_target_: tracker_of_notes.Notes\nfile: {tmp_path}/notes.txt\nfails: false\n"
    )
    file = tmp_path / "tracker_of_notes.py"
    file.write_text(PLUGIN)
    return {"plugins": [file], "config_dirs": [tmp_path / "c"]}


def test_a_tracked_run_has_its_settings_numbers_and_curves(finished):
    run = tracked(finished[1].folder)
    assert run.settings["train.epochs"] == 2 and run.settings["model._target_"].endswith("TinyCNN")
    assert run.tags["method"] == "finetune" and run.tags["seed"] == "0" and run.tags["folder"] == str(run.folder)
    rows = read_metrics(run.folder)
    known = {f"{one.role}/{one.metric}/{one.split}": one.value for one in rows.itertuples() if math.isfinite(one.value)}
    assert known.items() <= run.final.items()
    result = json.loads((run.folder / "result.json").read_text())
    assert run.final["cost/compute_ratio"] == result["compute_ratio"]
    assert run.final["cost/seconds/unlearned"] == result["seconds"]["unlearned"]
    points = {(name, epoch) for name, _, epoch in run.points()}
    assert {("training/original/loss", 1), ("training/original/loss", 2), ("training/unlearned/loss", 1)} <= points


def test_a_failing_tracker_loses_no_run_and_is_told_the_next_time_once(plugin, tmp_path, caplog):
    words = [*LINE, f"outputs={tmp_path}/outputs"]
    caplog.set_level(logging.INFO, "unlearnbench")
    logging.getLogger("unlearnbench").propagate = True
    failed = unlearnbench.run([*words, "track=notes", "track.notes.fails=true"], **plugin)
    assert failed.status == "done" and not failed.reused and (failed.folder / "metrics.csv").is_file()
    assert "the run is finished, but the tracker was not told of it (ConnectionError: nobody answers)" in caplog.text
    for _ in range(2):
        again = unlearnbench.run([*words, "track=notes"], **plugin)  # another tracker is no other run
        assert again.reused and again.folder == failed.folder
    (line,) = (tmp_path / "notes.txt").read_text().splitlines()
    assert line.split()[:2] == [failed.folder.name, "finetune"]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_missing_package_is_named_before_anything_trains(name, tmp_path):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    with pytest.raises(UserError, match=rf"pip install 'unlearnbench\[{name}\]'"):
        unlearnbench.run([*LINE, f"track={name}", f"outputs={tmp_path}/outputs"])
    assert not (tmp_path / "outputs").exists()


def test_trackers_are_offline_by_default_and_may_be_several():
    found = compose(["track=[tensorboard,mlflow,wandb,trackio]"]).request.config["track"]
    assert found["tensorboard"]["folder"] is found["mlflow"]["uri"] is found["trackio"]["space"] is None
    assert found["wandb"]["mode"] == "offline"
    assert compose([]).request.config["track"] == {} == compose(["track=none"]).request.config["track"]


def told(finished, tracker):
    """Tell one tracker of the run; return the folder of outputs that is for it."""
    outputs, run = finished
    assert unlearnbench.run([*LINE, f"outputs={outputs}", f"track={tracker}"]).reused
    assert (outputs / "track" / tracker / ".sent" / run.folder.name).is_file()
    return outputs / "track" / tracker


def test_tensorboard_reads_the_numbers_back(finished):
    pytest.importorskip("tensorboard", reason="needs the extra [tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tracked(finished[1].folder)
    events = EventAccumulator(str(told(finished, "tensorboard") / run.name))
    events.Reload()
    (last,) = events.Scalars("unlearned/accuracy/forget")
    assert last.value == pytest.approx(run.final["unlearned/accuracy/forget"])
    assert [one.step for one in events.Scalars("training/original/loss")] == [1, 2]


def test_mlflow_finds_the_run_with_its_tags(finished):
    pytest.importorskip("mlflow", reason="needs the extra [mlflow]")
    from mlflow import MlflowClient

    run = tracked(finished[1].folder)
    client = MlflowClient(tracking_uri=f"sqlite:///{told(finished, 'mlflow')}/mlflow.db")
    experiment = client.get_experiment_by_name("unlearnbench")
    (found,) = client.search_runs([experiment.experiment_id], "tags.method = 'finetune'")
    assert found.data.metrics["unlearned/accuracy/forget"] == pytest.approx(run.final["unlearned/accuracy/forget"])
    assert found.data.params["train.epochs"] == "2" and found.info.status == "FINISHED"
    assert len(client.get_metric_history(found.info.run_id, "training/original/loss")) == 2


def test_wandb_leaves_an_offline_run(finished):
    pytest.importorskip("wandb", reason="needs the extra [wandb]")
    (folder,) = (told(finished, "wandb") / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    assert b"unlearned/accuracy/forget" in file.read_bytes()


def test_trackio_stores_the_numbers(finished):
    if importlib.util.find_spec("trackio") is None:  # imported before it is told where its files go, it takes others
        pytest.skip("needs the extra [trackio]")
    import sqlite3

    run = tracked(finished[1].folder)
    with sqlite3.connect(told(finished, "trackio") / "unlearnbench.db") as store:
        rows = store.execute("SELECT metrics FROM metrics WHERE run_name = ?", [run.name]).fetchall()
    assert json.loads(rows[-1][0])["unlearned/accuracy/forget"] == pytest.approx(run.final["unlearned/accuracy/forget"])
