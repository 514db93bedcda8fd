"""The installed command, as a user types it: help, lists, completion, mistakes, exit codes, sweeps, plugins."""

from __future__ import annotations

import csv
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import unlearnbench
from unlearnbench.cli import main

TINY = ("dataset=synthetic", "model=tiny_cnn", "train.epochs=2")
NO_TORCH = "import sys; from unlearnbench.cli import dispatch; sys.exit(dispatch(%r) or 'torch' in sys.modules)"


HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def test_version_and_help(command):
    assert command("--version").stdout.strip() == f"unlearnbench {unlearnbench.__version__}"
    assert "unlearnbench COMMAND" in command("--help").stdout
    shown = command("run", "--help")
    assert shown.returncode == 0
    assert "method: distill, distill_paper, finetune, gradient_ascent, masking, none, retrain" in shown.stdout


def test_list_shows_every_topic(command):
    shown = command("list").stdout
    for word in ("distill", "resnet18", "cifar100", "subclass", "zrf_published", "smoke", "arXiv:2205.08096"):
        assert word in shown


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


MISTAKES = [
    (["run", "method=distil"], "Did you mean 'distill'"),
    (["run", "metod=distill"], "Did you mean 'method'"),
    (["run", "method.epohcs=3"], "Did you mean 'epochs'"),
    (["run", "+method.epohcs=3"], "Did you mean 'epochs'"),
    (["run", "+sede=3"], "Did you mean 'seed'"),
    (["run", "method.optimizer.lr=hot"], "method.optimizer.lr"),
    (["run", "method.optimizer.name=sdg"], "Did you mean 'sgd'"),
    (["run", "method.epochs=0"], "method.epochs=0"),
    (["run", "method.epochs=1.5"], "method.epochs=1.5"),
    (["run", "seed=-1"], "seed=-1"),
    (["run", "train.optimizer.momentum=1.5"], "train.optimizer.momentum=1.5"),
    (["run", "reference.count=0"], "reference.count=0"),
    (["run", "dataset.limit=3"], "dataset.limit=3"),
    (["run", "forget.classes=[unicorn]"], "names 'unicorn'"),
    (["run", "forget.classes=[]"], "nothing would be forgotten"),
    (["run", "forget.classes=[0,1,2,3]"], "nothing would be retained"),
    (["run", "forget=random", "forget.fraction=1.0"], "forget.fraction"),
    (["run", "forget=subclass"], "dataset.labels=superclass"),
    (["run", "dataset=cifar10", "dataset.root=nowhere"], "dataset.root=FOLDER"),
    (["run", "model.checkpoint=nowhere.pt"], "does not exist"),
    (["run", "outputs=/proc/nowhere"], "cannot be written"),
    (["run", "device=cuda:7"], "device=cpu"),
    (["run", "device=tpu"], "device"),
    (["run", "precision=fp8"], "precision"),
    (["run", "model._target_=os.system"], "is refused"),
    (["run", "method._target_=torch.load"], "is refused"),
    (["run", "+hydra.callbacks.x._target_=torch.load"], "is refused"),
    (["run", "-m", "seed=0,1", "hydra.launcher._target_=os.system"], "is refused"),
    (["run", "hydra.searchpath=[pkg://os]"], "is refused"),
    (["run", "seed=${oc.env:HOME}"], "is refused"),
    (["run", "seed=${ oc.env :HOME}"], "is refused"),
    (["run", "+hydra.job_logging.handlers.x.class=os.system"], "is refused"),
    (["run", "-m", "method=distill,finetun"], "Did you mean 'finetune'"),
    (["run", "-m", "seed=0,one"], "seed"),
    (["run", "forget.classes=[0"], "quoted"),
    (["run", "seed=0,1"], "-m for a sweep"),
    (["run", "dataset=null"], "unlearnbench list"),
    (["run", "forget.classes=0"], "a list, such as [0]"),
    (["run", "--frob"], "unlearnbench run --help"),
    (["run", "--config-dir", "nowhere"], "--config-dir"),
    (["run", "--plugin", "nowhere.py"], "--plugin"),
    (["list", "method"], "Did you mean 'methods'"),
    (["report", "nowhere"], "nowhere"),
    (["rnu"], "Did you mean 'run'"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistakes_exit_2_with_a_remedy_and_leave_nothing(monkeypatch, capsys, tmp_path, words, says):
    """In this process, since a new one takes seconds to start; the next test shows that the command does the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unlearnbench", *on_tiny_data(words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "says"), MISTAKES[::13], ids=[" ".join(words) for words, _ in MISTAKES[::13]])
def test_mistakes_at_the_installed_command(command, tmp_path, words, says):
    done = command(*on_tiny_data(words))
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def on_tiny_data(words):
    """Put a `run` on the generated data set, unless it names one."""
    plain = words[0] == "run" and "dataset=" not in " ".join(words)
    return [*words[:1], *TINY[:2], *words[1:]] if plain else words


def test_sweep_trains_nothing_twice_and_ends_with_a_report(command, tmp_path):
    words = ["run", "-m", *TINY, "method=none,finetune", "forget=class,random", "seed=0,1", "+method.epochs=1"]
    words[-1:] = []
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
        "results.csv", "runs.csv", "summary.csv", "leaderboard.md", "report.html", "retain_forget.png",
        "accuracy_by_method.png",
    }  # fmt: skip
    assert not (Path(jobs[0]["run_folder"]) / "model").exists()


def test_failed_job_does_not_stop_the_others(command, tmp_path):
    done = command(
        "run", "-m", *TINY, "method=gradient_ascent", "method.optimizer.lr=1e30,1e-4", "method.epochs=1"
    )  # fmt: skip
    assert done.returncode == 1
    sweep = next((tmp_path / "outputs" / "sweeps").iterdir())
    with (sweep / "jobs.csv").open() as file:
        jobs = list(csv.DictReader(file))
    assert [job["status"] for job in jobs] == ["diverged", "done"]
    assert "not finite" in jobs[0]["reason"]


PLUGIN = '''
"""A method of somebody else."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True, kw_only=True)
class Shrink:
    """Scale the head's weights."""
    kinds: ClassVar[frozenset[str]] = frozenset({KINDS})
    factor: float

    def __call__(self, model, problem):
        model.get_submodule(problem.parts.head).weight.data.mul_(self.factor)
        return model
'''


def write_plugin(folder: Path, kinds: str = '"image"') -> list[str]:
    (folder / "mine" / "method").mkdir(parents=True)
    (folder / "shrinking.py").write_text(PLUGIN.replace("KINDS", kinds))
    (folder / "mine" / "method" / "shrink.yaml").write_text("_target_: shrinking.Shrink\nfactor: 0.5\n")
    return ["--config-dir", str(folder / "mine"), "--plugin", str(folder / "shrinking.py")]


def test_a_plugin_file_runs_and_is_refused_without_trust(command, tmp_path):
    flags = write_plugin(tmp_path / "theirs")
    assert command("run", *flags[:2], *TINY, "method=shrink").returncode == 2
    done = command("run", *flags, *TINY, "method=shrink")
    assert done.returncode == 0, done.stderr
    assert "shrink on tiny_cnn" in done.stdout
    sweep = command("run", "-m", *flags, *TINY, "method=shrink,none")
    assert sweep.returncode == 0, sweep.stderr


def test_a_method_for_other_data_is_an_error_alone_and_a_row_in_a_sweep(command, tmp_path):
    flags = write_plugin(tmp_path / "theirs", '"text"')
    alone = command("run", *flags, *TINY, "method=shrink")
    assert alone.returncode == 2
    assert "needs text" in alone.stderr
    sweep = command("run", "-m", *flags, *TINY, "method=shrink,none")
    assert sweep.returncode == 0, sweep.stderr
    folder = next((tmp_path / "outputs" / "sweeps").iterdir())
    with (folder / "jobs.csv").open() as file:
        assert [job["status"] for job in csv.DictReader(file)] == ["skipped", "done"]


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
            time.sleep(1)
            process.send_signal(sign)
            assert process.wait(timeout=60) == code
        finally:
            process.kill()
    assert not list((tmp_path / "outputs" / "runs").iterdir())


def heed_interrupts():
    """Undo what a shell does to commands in the background: they would ignore an interruption."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_no_color_is_honoured(command):
    assert "\x1b[" not in command("list", "methods", env={"NO_COLOR": "1", "FORCE_COLOR": ""}).stdout


def test_torchvision_that_does_not_fit_torch_is_explained_at_once(command, tmp_path):
    broken = tmp_path / "broken" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    path = f"{tmp_path / 'broken'}:{Path(__file__).parents[1]}"
    done = command("run", env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert "do not fit together" in done.stderr and "pip install" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_terminal_shows_bars_and_a_file_plain_lines(tmp_path):
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "unlearnbench", "run", *TINY, "train.epochs=30"]
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


def test_a_checkpoint_of_another_shape_ends_before_anything_runs(command, tmp_path):
    torch.save({"state_dict": {"module.linear.weight": torch.zeros(10, 64)}}, tmp_path / "weights.pt")
    done = command("run", *TINY, f"model.checkpoint={tmp_path / 'weights.pt'}")
    assert done.returncode == 2
    assert "linear.weight: file (10, 64), model (4, 32)" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pt"]


METRIC = '''
"""A metric of somebody else."""
from unlearnbench.metrics import metric

@metric("mean_loss_twice", splits=("forget",), unit="nats", low=0.0, high=1e9, source="here")
def mean_loss_twice(evidence, split):
    """Twice the mean loss."""
    return float(2 * evidence.subject[split].loss.mean())
'''


def test_a_metric_of_a_plugin_is_computed_though_the_run_was_done_without_it(command, tmp_path):
    (tmp_path / "mine.py").write_text(METRIC)
    words = ["run", *TINY, "method=none"]
    assert command(*words).returncode == 0
    done = command(*words, "--plugin", "mine.py")
    assert done.returncode == 0 and "done before" not in done.stdout
    with (tmp_path / done.stdout.partition("files: ")[2].strip() / "metrics.csv").open() as file:
        values = {row["role"]: row["value"] for row in csv.DictReader(file) if row["metric"] == "mean_loss_twice"}
    assert set(values) == {"original", "retrained", "unlearned"}
