"""Workers: the same bytes as one process, each stage once, whoever is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from test_cli import heed_interrupts

from worlds import HERE, TINY

pytestmark = pytest.mark.slow

WORDS = ["-m", *TINY, "threads=1", "method=none,finetune,distill", "seed=0,1"]


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "unlearnbench", *words], cwd=folder, env=HERE, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_interrupts,
    )  # fmt: skip


def results(folder: Path) -> bytes:
    (report,) = (folder / "outputs" / "sweeps").glob("*/report/results.csv")
    return report.read_bytes()


def stages(folder: Path) -> set[str]:
    return {place.name for place in (folder / "outputs" / "cache" / "stages").iterdir()}


@pytest.fixture(scope="module")
def inline(warm, tmp_path_factory):
    """The sweep in one process."""
    folder = tmp_path_factory.mktemp("inline")
    done = warm.run(["run", *WORDS], folder, HERE)
    assert done.returncode == 0, done.stderr
    return results(folder), stages(folder)


@pytest.mark.parametrize("workers", [2, 4])
def test_workers_leave_the_same_bytes_and_compute_each_stage_once(command, tmp_path, inline, workers):
    done = start(tmp_path, "run", *WORDS, "runner=local", f"runner.workers={workers}")
    _, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert (results(tmp_path), stages(tmp_path)) == inline
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    logged = "".join(file.read_text() for file in (sweep / "logs").iterdir())
    begun = Counter(re.findall(r"^(original|retrained 0|unlearned) \.\.\.$", logged, re.MULTILINE))
    assert begun == {"original": 2, "retrained 0": 2, "unlearned": 6}
    assert re.search(r"6 of 6 jobs done", err)
    said = command("status").stdout
    assert f"{len(inline[1])} stages: {len(inline[1])} done, 0 running, 0 failed, 0 left" in said


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path, inline):
    """The others take over what it held; what it had finished is there."""
    done = start(tmp_path, "run", *WORDS, "runner=local", "runner.workers=3")
    claims, killed = tmp_path / "outputs" / "cache" / "claims", set()
    while done.poll() is None and len(killed) < 2:
        for claim in claims.glob("[0-9a-f]*"):
            try:
                process = json.loads(claim.read_text())["process"]
            except (OSError, ValueError):
                continue
            if process not in killed and process != done.pid:
                os.kill(process, signal.SIGKILL)
                killed.add(process)
                break
        time.sleep(0.3)
    _, err = done.communicate(timeout=300)
    assert len(killed) == 2, err
    assert done.returncode == 0, err
    assert re.search(r"worker \d ended with exit status -9; see \S+worker_\d\.log", err)
    assert (results(tmp_path), stages(tmp_path)) == inline


def test_ctrl_c_ends_the_workers_too(tmp_path):
    done = start(tmp_path, "run", *WORDS, "train.epochs=200", "runner=local", "runner.workers=2")
    claims = tmp_path / "outputs" / "cache" / "claims"
    while not (found := [*claims.glob("[0-9a-f]*")]):
        assert done.poll() is None
        time.sleep(0.1)
    workers = {json.loads(claim.read_text())["process"] for claim in found}
    os.kill(done.pid, signal.SIGINT)
    _, err = done.communicate(timeout=60)
    assert done.returncode == 130 and "Traceback" not in err
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{process}").exists() for process in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{process}").exists() for process in workers)


def test_one_run_may_have_workers_too_and_its_failure_is_a_row(command, tmp_path):
    words = [*TINY, "threads=1", "method=finetune", "method.optimizer.lr=1e30", "runner=local"]
    done = command("run", *words)
    assert done.returncode == 1, done.stderr
    (jobs,) = (tmp_path / "outputs" / "sweeps").glob("*/jobs.csv")
    logs = [file.read_text() for file in jobs.parent.glob("logs/*.log")]
    runs = sorted((tmp_path / "outputs" / "runs").iterdir())
    assert "diverged" in jobs.read_text(), (done.stderr, logs, runs)
    assert "failed: unlearned: " in command("status").stdout
