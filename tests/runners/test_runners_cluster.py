"""A sweep on a real SLURM: the bytes of one process, each stage once, and only what is missing is submitted again."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from worlds import HERE, TINY

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

WORDS = ["-m", *TINY, "train.epochs=1", "threads=1", "device=cpu", "method=none,finetune", "seed=0,1"]
CLUSTER = ["runner=slurm", "runner.cpus=1", "runner.gpus=0", "runner.minutes=60"]


def results(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((folder / "outputs" / "sweeps").glob("*/report/results.csv"))]


def submitted(sent: subprocess.CompletedProcess[str]) -> list[str]:
    assert sent.returncode == 0, sent.stderr
    return re.findall(r"\d+", re.search(r"submitted as ([\d, ]+);", sent.stderr)[1])


def lose_an_unlearning(folder: Path) -> None:
    """Remove a run and the unlearned model that it needs, as somebody who clears up would."""
    (plan,) = folder.glob("outputs/sweeps/*/plan.jsonl")
    stages = [json.loads(line) for line in plan.read_text().splitlines()[1:]]
    lost = next(one for one in stages if one["label"] == "unlearned" and len(one["jobs"]) == 1)
    shutil.rmtree(folder / "outputs" / "cache" / "stages" / lost["key"])
    rows = csv.DictReader(plan.with_name("jobs.csv").open())
    [row] = [row for row in rows if int(row["job"]) == lost["jobs"][0]]
    shutil.rmtree(folder / row["run_folder"])


def test_a_sweep_on_a_cluster_is_the_same_sweep(slurm, warm, tmp_path):
    def run(place: str, *words: str) -> subprocess.CompletedProcess[str]:
        return warm.run(words, tmp_path / place, {**HERE, **slurm.environment})

    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    here = run("here", "run", *WORDS)
    assert here.returncode == 0, here.stderr
    sent = run("there", "run", *WORDS, *CLUSTER)
    jobs = submitted(sent)
    assert len(jobs) == 3  # trainings, unlearnings, the report
    again = run("there", "run", *WORDS, *CLUSTER)
    assert again.returncode == 2 and "in the queue already" in again.stderr
    slurm.until(*jobs, seconds=120)
    assert results(tmp_path / "there") == results(tmp_path / "here")
    logged = "".join(file.read_text() for file in (tmp_path / "there").rglob("*.log"))
    begun = Counter(re.findall(r"^(original|retrained 0|unlearned) \.\.\.$", logged, re.MULTILINE))
    assert begun == {"original": 2, "retrained 0": 2, "unlearned": 4}
    more = run("there", "plan", *WORDS, *CLUSTER)
    assert " 0 missing" in more.stdout
    lose_an_unlearning(tmp_path / "there")
    unlearning, report = submitted(run("there", "run", *WORDS, *CLUSTER))  # no training is submitted again
    slurm.until(unlearning, report, seconds=120)
    assert slurm.states(unlearning) == {0: "COMPLETED"}
    assert results(tmp_path / "there") == 2 * results(tmp_path / "here")
