"""A sweep's folder is its own: at once, again, and with fewer jobs; a job that was killed is a row that failed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, locks
from unlearnbench.runs import sweep_folder
from unlearnbench.runs.sweep_folder import claimed
from worlds import HERE, TINY

WORDS = ["run", "-m", *TINY, "method=none", "train.epochs=1"]
STORED = """
from hydra.core.config_store import ConfigStore

ConfigStore.instance().store(
    group="hydra/launcher", name="joblib", provider="hydra_joblib_launcher",
    node={"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"},
)
"""
KILLING = '''\
"""A launcher of the known name: a process a job, of which the job that is to be killed kills its own."""

import os

from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict


class JoblibLauncher(Launcher):
    def __init__(self, **_settings):
        pass

    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        for number, words in enumerate(job_overrides, initial_job_idx):
            child = os.fork()
            if child == 0:
                config = self.context.config_loader.load_sweep_config(self.config, list(words))
                with open_dict(config):
                    config.hydra.job.id = config.hydra.job.num = number
                if "seed=1" in words:
                    import unlearnbench.sweep
                    unlearnbench.runs.sweep.execute = lambda request: os.kill(os.getpid(), 9)
                if "seed=2" not in words:
                    run_job(
                        hydra_context=self.context, task_function=self.task, config=config,
                        job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
                    )
                os._exit(0)
            os.waitpid(child, 0)
        raise RuntimeError("a worker was killed")
'''


def jobs_of(folder: Path) -> list[tuple[str, str]]:
    with (folder / "jobs.csv").open(newline="") as file:
        return [(row["seed"], row["status"]) for row in csv.DictReader(file)]


def seeds(*numbers: int) -> list[tuple[str, str]]:
    return [(str(number), "done") for number in numbers]


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    with claimed(tmp_path / "now", dated=True) as one, claimed(tmp_path / "now", dated=True) as two:
        assert (one.name, two.name) == ("now", "now_2")


def test_two_sweeps_at_once_are_two(tmp_path):
    """Really at once: their folders are named by the second, or one has a number behind it."""
    lines = (["seed=0,1"], ["seed=5,6,7"])
    processes = [
        subprocess.Popen([sys.executable, "-m", "unlearnbench", *WORDS, *line], cwd=tmp_path, env=HERE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in lines
    ]  # fmt: skip
    shown = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], shown
    folders = sorted((tmp_path / "outputs" / "sweeps").iterdir())
    assert len(folders) == 2
    assert sorted(map(jobs_of, folders)) == [seeds(0, 1), seeds(5, 6, 7)]
    for (out, _), numbers in zip(shown, ((0, 1), (5, 6, 7)), strict=True):
        (mine,) = [folder for folder in folders if f"jobs: {folder.relative_to(tmp_path) / 'jobs.csv'}\n" in out]
        assert jobs_of(mine) == seeds(*numbers)
    assert not list((tmp_path / "outputs").rglob(".jobs"))


def test_a_fixed_folder_holds_its_last_sweep(command, tmp_path):
    for line in (["seed=0,1,2"], ["seed=1"]):
        done = command(*WORDS, *line, "hydra.sweep.dir=fixed")
        assert done.returncode == 0, done.stderr
    assert jobs_of(tmp_path / "fixed") == seeds(1)
    with (tmp_path / "fixed" / "report" / "runs.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["1"]
    assert len(list((tmp_path / "outputs" / "runs").iterdir())) == 3


def test_the_notes_of_a_killed_sweep_are_not_the_next_ones(command, tmp_path):
    stale = tmp_path / "fixed" / ".jobs" / "0.json"
    stale.parent.mkdir(parents=True)
    stale.write_text('{"job": 7, "status": "done", "overrides": "stale", "run_folder": ""}')
    assert command(*WORDS, "seed=0", "hydra.sweep.dir=fixed").returncode == 0
    assert jobs_of(tmp_path / "fixed") == seeds(0)


def test_no_report_of_an_earlier_sweep_is_shown(tmp_path):
    (tmp_path / "report").mkdir()
    for name in ("jobs.csv", "report/leaderboard.md", "report/mine.txt"):
        (tmp_path / name).write_text("earlier")
    with sweep_folder.claimed(tmp_path, dated=False):
        assert not (tmp_path / "jobs.csv").exists() and not (tmp_path / "report" / "leaderboard.md").exists()
    assert (tmp_path / "report" / "mine.txt").exists()


def test_a_folder_in_which_a_sweep_runs_is_refused(tmp_path):
    with (
        locks.locked(tmp_path / ".running"),
        pytest.raises(UserError, match=r"is running in .*\nTry: hydra"),
        sweep_folder.claimed(tmp_path, dated=False),
    ):
        pass


def test_a_job_that_is_killed_or_never_begins_is_a_failed_row(tmp_path):
    plugin = tmp_path / "packages" / "hydra_plugins" / "hydra_joblib_launcher"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("")
    (plugin / "joblib_launcher.py").write_text(KILLING + STORED)
    (tmp_path / "killing.yaml").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "unlearnbench", *WORDS, "seed=0,1,2", "hydra/launcher=joblib"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**HERE, "PYTHONPATH": f"{HERE['PYTHONPATH']}:{tmp_path / 'packages'}"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert [status for _, status in jobs_of(folder)] == ["done", "failed", "failed"]
    with (folder / "jobs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "was killed" in rows[1]["reason"] and "never began: RuntimeError" in rows[2]["reason"]
    assert [row["dataset"] for row in rows] == ["synthetic"] * 3 and [row["seed"] for row in rows] == ["0", "1", "2"]


def test_a_note_is_whole_or_not_there(tmp_path):
    leftovers.replace(tmp_path / "0.json", "{}")
    assert [file.name for file in tmp_path.iterdir()] == ["0.json"]
