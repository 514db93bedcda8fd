"""`run --from RUN`: the stored words again, what a stranger's folder may not say, and whether the numbers are equal."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
from omegaconf import OmegaConf

import unlearnbench
from unlearnbench.commands import run as command
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from worlds import TINY

LINE = [*TINY, "method=finetune", "method.epochs=1", "plots=false"]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A finished run in its outputs folder."""
    outputs = tmp_path_factory.mktemp("there")
    return unlearnbench.run([*LINE, f"outputs={outputs}"]).folder


@pytest.fixture
def copied(there, tmp_path, monkeypatch):
    """The run's folder, copied to where its outputs are not; the current folder is another one."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(there, tmp_path / "got" / there.name)


@pytest.fixture
def said(caplog):
    logging.getLogger("unlearnbench").propagate = True
    caplog.set_level(logging.INFO, "unlearnbench")
    return caplog


def composed(folder, *words):
    given = command.parsed(["--from", str(folder), *words])
    return command.composed_for(given)


def edited(folder, **values):
    """Change a stored result.json, as whoever made the folder could have."""
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, **values}))
    sums.write(folder)


def configured(folder, key, value):
    """Change a value in a stored config.yaml."""
    text = (folder / "config.yaml").read_text()
    config = OmegaConf.create(text)
    OmegaConf.update(config, key, value, force_add=True)
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    (folder / "config.yaml").write_text(header + OmegaConf.to_yaml(config))
    sums.write(folder)


def test_a_run_in_its_outputs_folder_is_shown_again(there, said):
    again = unlearnbench.run(from_=there)
    assert again.reused and again.folder == there and "metrics:" not in said.text


def test_a_copied_run_is_made_again_elsewhere_with_equal_metrics(copied, there, said):
    again = unlearnbench.run(from_=copied)
    assert again.folder.parts[-3:] == ("outputs", "runs", there.name) and not again.reused
    assert "are equal to those in" in said.text and "to the last digit" in said.text
    text = (copied / "metrics.csv").read_text().splitlines()
    at = next(number for number, line in enumerate(text) if "unlearned,forget,accuracy" in line)
    text[at] = text[at].rpartition(",")[0] + ",0.125"
    (copied / "metrics.csv").write_text("\n".join(text) + "\n")
    sums.write(copied)
    said.clear()
    unlearnbench.run(from_=copied)
    assert "metrics: 1 of" in said.text and "accuracy of unlearned on forget, 0.125 then" in said.text


def test_further_words_change_it_and_replace_what_belongs_to_them(copied):
    request = composed(copied, "method=npo", "seed=3").request
    assert request.method == "npo" and request.config["seed"] == 3
    assert request.config["train"]["epochs"] == 2 and request.name("dataset") == "synthetic"
    assert not any(word.startswith("method.epochs") for word in request.overrides)
    sweep = composed(copied, "-m", "seed=1,2")
    assert sweep.sweep and sweep.request.config["seed"] == 1


def test_defaults_that_have_changed_since_are_kept_as_they_were(copied, said):
    configured(copied, "method.batch_size", 77)
    configured(copied, "eval.batch_size", 99)
    request = composed(copied).request
    assert request.config["method"]["batch_size"] == 77 and request.config["eval"]["batch_size"] == 99
    assert "kept as they were in the run: method.batch_size=77 eval.batch_size=99" in said.text
    assert composed(copied, "method=npo").request.config["method"].get("batch_size") != 77


def test_other_versions_are_told(copied, said):
    result = json.loads((copied / "result.json").read_text())
    edited(copied, versions={**result["versions"], "torch": "1.0"}, git_revision="f" * 40)
    composed(copied)
    assert "was made with torch 1.0" in said.text and "here: torch 2" in said.text


@pytest.mark.parametrize(
    "word",
    ["outputs=/there", "hydra.sweep.dir=/there", "runner=slurm", "runner.workers=9", "track=wandb",
     "+track.x.file=/there", "dataset.cache=/there", "hydra.searchpath=[pkg://os]", "hydra/launcher=joblib"],
)  # fmt: skip
def test_words_of_a_folder_say_neither_where_a_run_writes_nor_who_does_it(copied, word):
    edited(copied, overrides=[*LINE, word])
    request = composed(copied).request
    assert request.config["outputs"] == "outputs" and request.name("runner") == "inline"
    assert request.config["track"] == {} and not request.config["dataset"].get("cache")
    assert "/there" not in json.dumps(request.config)


@pytest.mark.parametrize(
    ("key", "value"),
    [("dataset.root", "${oc.env:HOME}"), ("method.epochs", "${eval:1}"), ("train.name", "!x")],
)  # fmt: skip
def test_a_stored_configuration_has_values_alone(copied, key, value):
    configured(copied, key, value)
    with pytest.raises(UserError):
        unlearnbench.run(from_=copied)


def test_what_is_not_part_of_unlearnbench_is_named_and_never_loaded(copied, tmp_path):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    configured(copied, "method._target_", "evil.Method")
    edited(copied, command="unlearnbench run --plugin evil.py method=finetune")
    with pytest.raises(UserError, match=r"classes of evil.* It was made with --plugin evil\.py") as found:
        composed(copied)
    assert "--plugin FILE.py" in str(found.value) and not (tmp_path / "mark").exists()
    text = (copied / "config.yaml").read_text().replace("# method=finetune", "# method=theirs")
    (copied / "config.yaml").write_text(text.replace("evil.Method", "unlearnbench.methods.finetune.Finetune"))
    sums.write(copied)
    with pytest.raises(UserError, match=r"has method=theirs.*\nTry: .*--config-dir FOLDER"):
        composed(copied)


def test_paths_of_another_machine_are_named_with_the_word_to_type(copied):
    configured(copied, "model.checkpoint", "/home/other/model.safetensors")
    with pytest.raises(UserError, match=r"read model.checkpoint=/home/other/model.safetensors.*not on this") as found:
        composed(copied)
    assert str(found.value).endswith(f"--from {copied} model.checkpoint=FILE")


def test_damage_sweeps_and_other_folders_are_refused(copied, tmp_path):
    with pytest.raises(UserError, match="is not a run's folder"):
        composed(tmp_path)
    (copied / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match=r"is damaged: config.yaml has changed.*\nTry: the command that made it"):
        composed(copied)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "jobs.csv").write_text(f"job,status,run_folder\n0,done,{copied}\n")
    with pytest.raises(UserError, match=rf"is a sweep.*\nTry: unlearnbench run --from {copied}"):
        composed(tmp_path / "s")
