"""Presets that are sweeps: what they launch, and that a word on the command line replaces their parameter."""

from __future__ import annotations

import csv

import pytest

from unlearnbench import cli
from unlearnbench.commands.run import composed_for, parsed, swept
from unlearnbench.errors import UserError
from unlearnbench.request.catalogue import entries
from unlearnbench.request.compose import compose
from unlearnbench.runs import sweeping
from unlearnbench.runs.launch import prepare

PRESET = """\
# @package _global_
# Two models, two seeds.
defaults:
  - override /dataset: synthetic
  - override /method: none
hydra: {mode: MULTIRUN, sweeper: {params: {model: "tiny_cnn,tiny_resnet", seed: "0,1"}}}
train: {epochs: 1}
reported: [{model: tiny_resnet, role: original, split: test, metric: accuracy, value: -1.0, source: Table IV}]
"""
SCALED = PRESET.replace('"0,1"', '"7"')
PAIRS = [("tiny_cnn", "0"), ("tiny_cnn", "1"), ("tiny_resnet", "0"), ("tiny_resnet", "1")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A configuration folder with the preset and its own file for scale=cpu, beside the place where runs go."""
    (tmp_path / "configs" / "experiment").mkdir(parents=True)
    (tmp_path / "configs" / "experiment" / "swept.yaml").write_text(PRESET)
    (tmp_path / "configs" / "experiment" / "swept_cpu.yaml").write_text(SCALED)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "configs"


@pytest.fixture
def jobs(folder, monkeypatch):
    """Compose and check a line of the preset; return its jobs as (model, seed), and launch nothing."""
    found = []
    monkeypatch.setattr(sweeping, "launch", lambda made, first: found.extend(map(named, made.rows)) or (folder, 0))

    def run(*words):
        cli.dispatch(["run", "--config-dir", str(folder), *words])
        return found

    return run


def named(row):
    return row["model"], str(row["seed"])


@pytest.mark.slow
def test_a_preset_is_a_sweep_and_ends_with_a_report(command, folder, tmp_path):
    done = command("run", "--config-dir", str(folder), "experiment=swept", "seed=0")
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "outputs" / "sweeps").iterdir()
    with (made / "jobs.csv").open() as file:
        rows = [(row["overrides"], row["status"]) for row in csv.DictReader(file)]
    assert rows == [
        ("model=tiny_cnn seed=0 experiment=swept", "done"), ("model=tiny_resnet seed=0 experiment=swept", "done"),
    ]  # fmt: skip
    board = (made / "report" / "leaderboard.md").read_text()
    assert board.count("### Reported and measured") == 1
    assert "examples of one seed" in board.partition("tiny_resnet on synthetic")[2]
    assert "reported and measured" in done.stdout and "###" not in done.stdout
    assert (made / "report" / "reported.csv").exists() and (made / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], PAIRS),
        (["model=tiny_resnet"], PAIRS[2:]),
        (["seed=0"], [PAIRS[0], PAIRS[2]]),
        (["model=tiny_cnn", "seed=5"], [("tiny_cnn", "5")]),
        (["model=tiny_cnn", "seed=3,4"], [("tiny_cnn", "3"), ("tiny_cnn", "4")]),
        (["-m", "model=tiny_cnn", "seed=3,4"], [("tiny_cnn", "3"), ("tiny_cnn", "4")]),
        (["-m", "train.epochs=1,2", "seed=0"], [PAIRS[0], PAIRS[0], PAIRS[2], PAIRS[2]]),
        (["scale=cpu"], [("tiny_cnn", "7"), ("tiny_resnet", "7")]),
        (["scale=cpu", "model=tiny_cnn", "seed=8"], [("tiny_cnn", "8")]),
        (["scale=smoke", "model=tiny_cnn"], PAIRS[:2]),
    ],
)
def test_a_word_replaces_the_parameter_of_its_name(jobs, words, expected):
    assert jobs("experiment=swept", *words) == expected


def test_the_configuration_is_shown_as_of_one_job(command, folder):
    shown = command("run", "--config-dir", str(folder), "experiment=swept", "model=tiny_resnet", "--cfg", "job")
    assert shown.returncode == 0, shown.stderr
    assert "TinyResNet" in shown.stdout and "seed: 0\n" in shown.stdout
    assert "seed: 0,1\n" in command("run", "--config-dir", str(folder), "experiment=swept", "--cfg", "hydra").stdout


def test_sweeps_are_listed_like_other_presets(folder):
    assert {entry.name: entry.about for entry in entries("experiments", [folder])}["swept"] == "Two models, two seeds"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["experiment=swept", "model=tiny_cn"], "Did you mean 'tiny_cnn'"),
        (["-m", "experiment=swept,smoke"], "experiment=swept is a sweep of its own"),
        (["-m", "experiment=smoke,swept"], "experiment=swept is a sweep of its own"),
        (["-m", "experiment=swept,swept_cpu"], "experiment=swept is a sweep of its own"),
    ],
)
def test_mistakes_launch_nothing(jobs, tmp_path, words, says):
    with pytest.raises(UserError, match=says):
        jobs(*words)
    assert not (tmp_path / "outputs").exists()


def test_a_wrong_value_of_a_parameter_launches_nothing(folder, tmp_path):
    (folder / "experiment" / "swept.yaml").write_text(PRESET.replace('"0,1"', '"0,one"'))
    with pytest.raises(UserError, match="seed"):
        cli.dispatch(["run", "--config-dir", str(folder), "experiment=swept"])
    assert not (tmp_path / "outputs").exists()


def test_a_sweep_is_no_single_run(folder):
    with pytest.raises(UserError, match="run it from the shell"):
        prepare(["experiment=swept"], [folder])
    assert compose(["experiment=swept"], [folder]).parameters == ("model=tiny_cnn,tiny_resnet", "seed=0,1")


def test_a_runner_of_ones_own_is_known_by_its_class(tmp_path, monkeypatch):
    """Its jobs are planned for the cluster, whatever its configuration is called."""
    (tmp_path / "runner").mkdir()
    (tmp_path / "runner" / "mine.yaml").write_text("defaults: [slurm, _self_]\npartition: gpu\n")
    planned = []
    monkeypatch.setattr("unlearnbench.runs.sweep.Sweep", lambda *_what, planning: planned.append(planning))
    monkeypatch.setattr("unlearnbench.runs.sweeping.launch", lambda *_what: (tmp_path, 0))
    for name in ("mine", "slurm", "local"):
        given = parsed(["--config-dir", str(tmp_path), "-m", f"runner={name}", "seed=0,1"])
        swept(given, composed_for(given))
    assert planned == [True, True, False]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["runner._target_=unlearnbench.training.recipe.Recipe"], "may only name runner classes"),
        (["runner._target_=unlearnbench.runners.slurm.Level"], "is not a configuration: expected a dataclass"),
        (["~runner"], "runner: there is none"),
    ],
)
def test_what_is_no_runner_is_refused(jobs, words, says):
    with pytest.raises(UserError, match=says):
        jobs(*words)


LAZY = """
\"\"\"A class that does no jobs.\"\"\"
from dataclasses import dataclass

@dataclass(frozen=True, kw_only=True)
class Lazy:
    \"\"\"Nothing.\"\"\"
"""


def test_a_class_that_does_no_jobs_is_no_runner(jobs, tmp_path):
    (tmp_path / "lazy_runner.py").write_text(LAZY)
    words = ("--plugin", str(tmp_path / "lazy_runner.py"), "runner._target_=lazy_runner.Lazy")
    with pytest.raises(
        UserError, match=r"(?s)not a configuration of runner: expected alone, away, do\nTry: runner=NAME"
    ):
        jobs(*words)
