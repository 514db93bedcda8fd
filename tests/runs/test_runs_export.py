"""What an export leaves where: in one rename, over nothing that is there, and on the hub only when told to push."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

from run_folders import make_run
from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.graph.artefact import Computed
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.results.model import write_model
from unlearnbench.runs import export as exports
from unlearnbench.runs.export import Wish, export
from worlds import TINY, image_info

VALUES = {"_target_": "unlearnbench.models.tiny.TinyCNN", "checkpoint": None}
INFO: DataInfo = image_info(8, 1, 4)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that holds a model of random weights."""
    folder = make_run(tmp_path / "outputs", "0a1b2c3d")
    torch.manual_seed(0)
    write_model(folder, VALUES, INFO, Computed(TinyCNN(checkpoint=None).build(INFO).state_dict(), {}))
    (folder / "config.yaml").write_text(json.dumps({"model": VALUES, "dataset": {"mean": [0.5], "std": [0.5]}}))
    sums.write(folder)
    return folder


def refused(run: Path, **wish: object) -> str:
    with pytest.raises(UserError) as caught:
        export(run, Wish(**wish))  # type: ignore[arg-type]
    assert "Try: " in str(caught.value)
    return str(caught.value)


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_target_that_is_there_is_replaced_only_with_force(run, tmp_path):
    place = tmp_path / "new" / "place"
    for name in ("a.pt", "a.safetensors", "folder"):
        assert export(run, Wish(to=str(place / name)))[0] == f"written: {place / name}"
        assert "is there already" in refused(run, to=str(place / name))
        export(run, Wish(to=str(place / name), force=True))
    assert entries(place) == ["a.pt", "a.safetensors", "folder"]


def test_force_never_replaces_a_folder_of_something_else(run, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    assert "something else" in refused(run, to=str(tmp_path / "home"), force=True)
    assert "something else" in refused(run, to=str(run), force=True)
    assert (tmp_path / "home" / "letter.txt").exists()


@pytest.mark.parametrize("name", ["a.pt", "folder"])
def test_what_was_there_stays_when_the_export_fails(run, tmp_path, monkeypatch, name):
    place = tmp_path / "place"
    export(run, Wish(to=str(place / name)))
    before = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}

    def torn(_path: Path) -> None:
        raise OSError("torn")

    monkeypatch.setattr(exports, "_flush", torn)
    with pytest.raises(OSError, match="torn"):
        export(run, Wish(to=str(place / name), force=True))
    assert before == {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert entries(place) == [name]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"to": "a.onnx"}, "not written as .onnx"),
        ({"to": "a.pt", "adapter": True}, "--adapter is a folder"),
        ({"to": "folder", "adapter": True}, "no adapter of its own"),
        ({"to": "folder", "push": True}, "without --push"),
        ({"to": "hf:../x"}, "not a name on the hub"),
        ({"to": "hf:", "push": True}, "not a name on the hub"),
    ],
)
def test_mistakes_leave_nothing(run, tmp_path, monkeypatch, wish, says):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert says in refused(run, **wish)
    assert not entries(tmp_path / "here")


def test_a_folder_that_is_no_sound_run_is_refused(run, tmp_path):
    assert "is no run folder" in refused(tmp_path, to="x")
    shutil.rmtree(run / "model")
    sums.write(run)
    assert "holds no model" in refused(run, to="x") and "save_model=true" in refused(run, to="x")
    (run / "metrics.csv").write_text("changed")
    assert "is damaged" in refused(run, to="x")
    failed = make_run(tmp_path / "other", "0a1b2c3e", status="failed", reason="because")
    assert "it is failed" in refused(failed, to="x")


class Hub:
    """Note what the hub is asked for."""

    asked: list[tuple[str, object]]

    def create_repo(self, name: str, **options: object) -> None:
        self.asked.append(("create", (name, options)))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.asked.append(("upload", (repo_id, entries(Path(folder_path)))))


def test_the_hub_gets_nothing_without_push_and_a_private_repository_with_it(run, monkeypatch):
    Hub.asked = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert "nothing was written" in export(run, Wish(to="hf:me/mine"))[0] and not Hub.asked
    assert export(run, Wish(to="hf:me/mine", push=True))[0] == "uploaded: me/mine, private"
    assert Hub.asked == [
        ("create", ("me/mine", {"private": True, "exist_ok": False})),
        ("upload", ("me/mine", ["config.json", "model.safetensors"])),
    ]


def test_what_the_hub_refuses_is_said_in_a_line(run, monkeypatch):
    class Closed(Hub):
        def create_repo(self, name: str, **options: object) -> None:
            raise ConnectionError("no way\nto the hub")

    monkeypatch.setattr(huggingface_hub, "HfApi", Closed)
    assert "could not be uploaded (ConnectionError: no way)" in refused(run, to="hf:me/mine", push=True)


@pytest.mark.slow
def test_a_run_without_a_model_gives_it_from_the_cache_and_says_what_to_type_without(command, tmp_path):
    done = command("run", *TINY, "method=finetune", "save_model=false")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    done = command("export", str(folder), "--to", "given.safetensors")
    assert (done.returncode, done.stdout) == (0, "written: given.safetensors\n"), done.stderr
    assert entries(tmp_path / "outputs" / "runs") == [folder.name] and not (folder / "model").exists()
    (key,) = [json.loads((folder / "result.json").read_text())["stage_keys"]["unlearned"]]
    shutil.rmtree(tmp_path / "outputs" / "cache" / "stages" / key)
    done = command("export", str(folder), "--to", "again.safetensors")
    assert done.returncode == 2 and not (tmp_path / "again.safetensors").exists()
    again = done.stderr.partition("Try: unlearnbench ")[2].split()
    assert again[0] == "run" and command(*again).returncode == 0
    assert command("export", str(folder), "--to", "again.safetensors").returncode == 0
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "given.safetensors").read_bytes()
    scored = command("score", "given.safetensors", "--data", TINY[0].partition("=")[2], *TINY[1:3])
    assert scored.returncode == 0 and "external:given on tiny_cnn" in scored.stdout, scored.stderr
    (other,) = (tmp_path / "outputs" / "runs").glob("external_given_*")
    for split in ("retain", "forget", "test"):  # what was exported says what was measured
        ours, given = (np.load(one / "scores" / f"unlearned_{split}.npz")["logits"] for one in (folder, other))
        assert (ours == given).all()
    result = json.loads((other / "result.json").read_text())
    assert result["cost_ratio"] is None and "somebody else" in result["cost_note"]
    assert (result["method"], result["weights_changed"]) == ("external:given", True)
    assert command("verify", "outputs").returncode == 0
    assert command("report", "outputs").returncode == 0
    board = (tmp_path / "report" / "leaderboard.md").read_text()
    assert "| external:given |" in board and "| finetune |" in board
