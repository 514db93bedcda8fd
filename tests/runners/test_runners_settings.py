"""The settings of the runners: as shipped, and what is refused."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import pytest
import yaml

from unlearnbench.errors import UserError
from unlearnbench.request.config import config_root, typed
from unlearnbench.runners import slurm as module
from unlearnbench.runners.arrays import Arrays
from unlearnbench.runners.inline import Inline
from unlearnbench.runners.levels import Level
from unlearnbench.runners.local import Local
from unlearnbench.runners.sbatch import Sbatch
from unlearnbench.runners.slurm import Slurm, submit

CLASSES = {"inline": Inline, "local": Local, "slurm": Slurm}


def shipped(name):
    values = yaml.safe_load((config_root() / "runner" / f"{name}.yaml").read_text())
    return {key: value for key, value in values.items() if key != "_target_"}


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_shipped_is_valid_and_names_its_class(name):
    target = yaml.safe_load((config_root() / "runner" / f"{name}.yaml").read_text())["_target_"]
    assert target == f"{CLASSES[name].__module__}.{CLASSES[name].__qualname__}"
    typed(CLASSES[name], shipped(name), "runner")


def test_every_option_of_sbatch_is_written_out_and_none_is_given():
    settings = typed(Slurm, shipped("slurm"), "runner")
    assert shipped("slurm")["sbatch"] == asdict(Sbatch())
    assert settings.sbatch.words() == {}


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("local", {"workers": 0}, r"runner\.workers=0: expected greater than or equal to 1"),
        ("local", {"threads": "many"}, r"runner\.threads"),
        ("local", {"worker": 2}, r"runner\.worker: .*Did you mean 'workers'"),
        ("slurm", {"minutes": 2}, r"runner\.minutes=2"),
        ("slurm", {"gpus": -1}, r"runner\.gpus=-1"),
        ("slurm", {"partition": "a b\n#SBATCH --wrap=id"}, r"runner\.partition: 'a b\\n.*not a plain value"),
    ],
)
def test_a_wrong_setting_is_named(name, changes, said):
    with pytest.raises(UserError, match=said):
        typed(CLASSES[name], {**shipped(name), **changes}, "runner")


HOSTILE = ("a\nb", "a\rb", "$(id)", "`id`", "a'b", 'a"b', "a\\b", "a;b", "a>b", "a#b", "-x", " a", "", "é", "x" * 201)


@pytest.mark.parametrize("value", HOSTILE)
def test_an_option_of_sbatch_cannot_leave_its_line(value):
    with pytest.raises(UserError, match=r"runner\.sbatch\.account: .*not a plain value"):
        typed(Slurm, {**shipped("slurm"), "sbatch": {"account": value}}, "runner")


@pytest.mark.parametrize("name", ["wrap", "output", "error", "export", "chdir", "prolog", "array", "account\n"])
def test_an_option_that_runs_or_writes_is_refused(name):
    with pytest.raises(UserError, match=r"unknown setting of runner\.sbatch"):
        typed(Slurm, {**shipped("slurm"), "sbatch": {name: "x"}}, "runner")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("account", 123, "#SBATCH --account=123"),
        ("constraint", "[a100|h100]&ib*2", "#SBATCH --constraint='[a100|h100]&ib*2'"),
        ("mail_type", "END,FAIL", "#SBATCH --mail-type=END,FAIL"),
        ("exclusive", True, "#SBATCH --exclusive"),
        ("exclusive", "user", "#SBATCH --exclusive=user"),
        ("nice", -5, "#SBATCH --nice=-5"),
        ("wckey", "mine", "#SBATCH --wckey=mine"),
    ],
)
def test_an_option_of_sbatch_becomes_a_line(tmp_path, name, value, line):
    settings = typed(Slurm, {**shipped("slurm"), "sbatch": {name: value}}, "runner")
    text = Arrays(tmp_path, Level("train", (("true",),), 2, (1.0,)), settings).text()
    assert line in text.splitlines()
    assert [word for word in text.splitlines() if word.startswith("#SBATCH --gpus")] == ["#SBATCH --gpus-per-node=2"]


def test_no_line_of_sbatch_is_given_twice_or_by_submitit(tmp_path):
    settings = typed(Slurm, {**shipped("slurm"), "memory_gib": 0.0001}, "runner")
    text = Arrays(tmp_path, Level("train", (("true",),), 0, (1.0,)), settings).text()
    lines = dict(shlex.split(line)[1].partition("=")[::2] for line in text.splitlines() if line.startswith("#SBATCH"))
    assert lines == {
        "--array": "0-0%1", "--cpus-per-task": "4", "--job-name": "train", "--kill-on-invalid-dep": "yes",
        "--mem": "1M", "--nodes": "1", "--open-mode": "append", "--output": f"{tmp_path}/train_%A_%a.log",
        "--requeue": "", "--signal": "B:TERM@120", "--time": "240",
    }  # fmt: skip
    assert "srun" not in text and ".pkl" not in text


def test_a_machine_without_slurm_is_told_apart(tmp_path, monkeypatch):
    settings, level = typed(Slurm, shipped("slurm"), "runner"), Level("train", (("true",),), 0, (1.0,))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"(?s)needs SLURM's command sbatch.*Try: .*runner=local"):
        submit([level], settings, tmp_path / "logs")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"(?s)needs submitit.*Try: pip install 'unlearnbench\[slurm\]'"):
        submit([level], settings, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
