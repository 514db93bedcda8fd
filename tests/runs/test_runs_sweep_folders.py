"""A sweep's folder is its own: at once, again, and with fewer jobs; a job that was killed is a row that failed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from unlearnbench.errors import UserError
from unlearnbench.runners.claims import Claims
from unlearnbench.runs import sweep_folder
from unlearnbench.runs.sweep_folder import claimed
from worlds import HERE, TINY

pytestmark = pytest.mark.slow

WORDS = ["run", "-m", *TINY, "method=none", "train.epochs=1"]


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


def test_no_report_of_an_earlier_sweep_is_shown(tmp_path):
    (tmp_path / "report").mkdir()
    for name in ("jobs.csv", "report/leaderboard.md", "report/mine.txt"):
        (tmp_path / name).write_text("earlier")
    with sweep_folder.claimed(tmp_path, dated=False):
        assert not (tmp_path / "jobs.csv").exists() and not (tmp_path / "report" / "leaderboard.md").exists()
    assert (tmp_path / "report" / "mine.txt").exists()


def test_a_folder_in_which_a_sweep_runs_is_refused(tmp_path):
    with (
        Claims(tmp_path).held(".running"),
        pytest.raises(UserError, match=r"is running in .*\nTry: hydra"),
        sweep_folder.claimed(tmp_path, dated=False),
    ):
        pass


def test_a_sweep_that_is_killed_leaves_a_row_for_each_job_and_goes_on(tmp_path):
    words = [sys.executable, "-m", "unlearnbench", *WORDS, "seed=0,1,2", "hydra.sweep.dir=fixed"]
    started = subprocess.Popen(words, cwd=tmp_path, env=HERE, stderr=subprocess.PIPE, text=True)
    for line in started.stderr:
        if line.startswith("unlearned"):
            started.kill()
            break
    started.communicate(timeout=60)
    with (tmp_path / "fixed" / "jobs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1", "2"] and {row["status"] for row in rows} == {"failed"}
    assert all("never began" in row["reason"] for row in rows)
    again = subprocess.run(words, cwd=tmp_path, env=HERE, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert jobs_of(tmp_path / "fixed") == seeds(0, 1, 2)
