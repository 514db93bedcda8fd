"""The installed command, as a user types it: help, lists, completion, mistakes, exit codes, sweeps, plugins."""

from __future__ import annotations

import csv
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unlearnbench
from worlds import HERE, TINY

NO_TORCH = "import sys; from unlearnbench.cli import dispatch; sys.exit(dispatch(%r) or 'torch' in sys.modules)"


def test_version_and_help(command):
    assert command("--version").stdout.strip() == f"unlearnbench {unlearnbench.__version__}"
    assert "unlearnbench COMMAND" in command("--help").stdout
    shown = command("run", "--help")
    assert shown.returncode == 0
    assert "method: altpo, altpo_paper, amnesiac, amnesiac_paper" in shown.stdout


def test_list_shows_every_topic(command):
    shown = command("list").stdout
    for word in ("distill", "resnet18", "cifar100", "subclass", "zrf_published", "smoke", "arXiv:2205.08096"):
        assert word in shown
    for model in ("resnet9", "coatnet_0", "coatnet_nano", "efficientformerv2_s0", "efficientformerv2_l"):
        assert f"\n{model} " in shown


@pytest.mark.parametrize("words", [["list"], ["run", "--help"], ["--version"]])
def test_light_commands_import_no_torch(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH % words], cwd=tmp_path, capture_output=True, text=True, check=False, env=HERE
    )
    assert done.returncode == 0, done.stderr


def test_finished_run_is_shown_without_torch(command, tmp_path):
    words = ["run", *TINY, "method=none"]
    assert command(*words).returncode == 0
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "outputs" / "runs").rglob("*")}
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH % words], cwd=tmp_path, capture_output=True, text=True, check=False, env=HERE
    )
    assert done.returncode == 0, done.stderr
    assert "done before" in done.stdout and "accuracy forget" in done.stdout
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "outputs" / "runs").rglob("*")} == before


def test_a_skip_says_its_reason_once(command):
    done = command("run", "dataset=clinical_notes", "dataset.limit=40", "method=lora_negation")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("needs an adapter") == 1


def test_cfg_job_prints_the_configuration(command, tmp_path):
    shown = command("run", "--cfg", "job", "method=finetune", "seed=3")
    assert shown.returncode == 0
    assert "finetune.Finetune" in shown.stdout and "seed: 3" in shown.stdout
    assert not list(tmp_path.iterdir())


def test_completion_knows_commands_groups_and_choices(command):
    def complete(line):
        return command("-sc", "query=bash", env={"COMP_LINE": line, "COMP_POINT": str(len(line))}).stdout

    assert complete("unlearnbench r").split() == ["run", "report"]
    assert "method=distill" in complete("unlearnbench run method=")
    assert complete("unlearnbench list m").split() == ["methods", "models", "metrics"]
    assert complete("unlearnbench list methods ").split() == []


@pytest.mark.slow
def test_sweep_trains_nothing_twice_and_ends_with_a_report(command, tmp_path):
    words = ["run", "-m", *TINY, "method=none,finetune", "forget=class,random", "seed=0,1"]
    done = command(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = next((tmp_path / "outputs" / "sweeps").iterdir())
    with (sweep / "jobs.csv").open() as file:
        jobs = list(csv.DictReader(file))
    assert [job["status"] for job in jobs] == ["done"] * 8
    results = [json.loads((Path(job["run_folder"]) / "result.json").read_text()) for job in jobs]
    trained = [name for result in results for name, reused in result["reused"].items() if not reused]
    assert trained.count("original") == 2  # one a seed
    assert trained.count("retrained_0") == 4  # one a seed and forget set
    assert {file.name for file in (sweep / "report").iterdir()} >= {
        "results.csv", "runs.csv", "summary.csv", "leaderboard.md", "report.html", "retain_forget_1.png",
        "accuracy_by_method_2.svg",
    }  # fmt: skip
    assert not (Path(jobs[0]["run_folder"]) / "model").exists()
    assert {result["command"] for result in results} == {shlex.join(["unlearnbench", *words])}


@pytest.mark.slow
def test_failed_job_does_not_stop_the_others(command, tmp_path):
    done = command(
        "run", "-m", *TINY, "method=gradient_ascent", "method.optimizer.lr=1e30,1e-4", "method.epochs=1"
    )  # fmt: skip
    assert done.returncode == 1
    sweep = next((tmp_path / "outputs" / "sweeps").iterdir())
    with (sweep / "jobs.csv").open() as file:
        jobs = list(csv.DictReader(file))
    assert [job["status"] for job in jobs] == ["diverged", "done"]
    assert jobs[0]["reason"].startswith("unlearned: ") and "a lower learning rate" in jobs[0]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_their_code_and_no_half_run(tmp_path, sign, code):
    words = [sys.executable, "-m", "unlearnbench", "run", "dataset=synthetic", "model=tiny_cnn", "train.epochs=100000"]
    with subprocess.Popen(
        words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=HERE, preexec_fn=heed_interrupts
    ) as process:
        try:
            for line in process.stderr:
                if line.startswith("original"):
                    break
            time.sleep(0.3)
            process.send_signal(sign)
            assert process.wait(timeout=60) == code
        finally:
            process.kill()
    assert not list((tmp_path / "outputs").glob("runs/*"))


def heed_interrupts():
    """Undo what a shell does to commands in the background: they would ignore an interruption."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_no_color_is_honoured(command):
    assert "\x1b[" not in command("list", "methods", env={"NO_COLOR": "1", "FORCE_COLOR": ""}).stdout


@pytest.mark.slow
def test_a_terminal_shows_bars_and_a_file_plain_lines(tmp_path):
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "unlearnbench", "run", *TINY, "train.epochs=10"]
    environment = {**HERE, "TERM": "xterm"}
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=slave, env=environment) as process:
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 4096):
                shown += piece
        except OSError:  # the terminal's other end is closed: all was read
            pass
    assert process.returncode == 0
    assert "━".encode() in shown and b"original" in shown
    log = next((tmp_path / "outputs" / "runs").iterdir()) / "run.log"
    assert "\x1b[" not in log.read_text()
