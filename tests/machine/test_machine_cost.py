"""What a run says that it cost: all its seconds, without validation, beside a retraining that was measured alike."""

from __future__ import annotations

import functools
import json
import time
from io import StringIO

import pandas
import pytest
import torch
from rich.console import Console

from run_folders import make_run
from unlearnbench.machine import cost, provenance
from unlearnbench.machine.precision import Precision
from unlearnbench.report import write
from unlearnbench.results.table import show
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages import train
from unlearnbench.stages.resume import Resumable
from unlearnbench.tasks.image import ImageTask
from unlearnbench.training.stepper import Stepper
from worlds import TINY

HERE = {"device": "cpu", "processor": "a", "threads": 2, "precision": "fp32", "load": 0.1}


def facts(seconds, validation=0.0, **changes):
    return {"seconds": seconds, "validation_seconds": validation, "circumstances": [{**HERE, **changes}]}


def test_the_ratio_is_of_seconds_without_validation_on_both_sides():
    retrained = {"retrained_0": facts(50.0, 10.0), "retrained_1": facts(24.0, 4.0, load=9.0)}
    assert cost.ratio(facts(8.0, 2.0), retrained) == (pytest.approx(6 / 30), "")


@pytest.mark.parametrize(
    ("name", "value"), [("threads", 1), ("device", "cuda"), ("processor", "b"), ("precision", "bf16")]
)
def test_stages_that_were_not_measured_alike_have_no_ratio(name, value):
    retrained = {"retrained_0": facts(50.0), "retrained_1": facts(50.0, **{name: value})}
    ratio, note = cost.ratio(facts(5.0), retrained)
    assert ratio is None
    assert note == (f"not measured alike: {name} unlearned {HERE[name]}, retrained_0 {HERE[name]}, retrained_1 {value}")


def test_a_ratio_from_a_busy_machine_is_marked_with_the_stages():
    retrained = {"retrained_0": facts(50.0, busy=True, threads=1), "retrained_1": facts(50.0, threads=1)}
    found = cost.ratio(facts(5.0, threads=1), retrained)
    assert found == (0.1, "the machine was busy with other work during retrained_0")
    note = cost.ratio(facts(5.0), {"retrained_0": facts(50.0, busy=True)})[1]
    assert note.endswith("retrained_0, and its threads spun while they waited, which counts as CPU seconds")


def test_the_compute_ratio_is_of_cpu_seconds_without_the_share_of_validation():
    unlearned = {**facts(8.0, 2.0), "cpu_seconds": 16.0}
    retrained = {"retrained_0": {**facts(50.0, 10.0), "cpu_seconds": 25.0}}
    assert cost.compute_ratio(unlearned, retrained) == pytest.approx(12 / 20)
    on_gpu = {"retrained_0": {**facts(50.0), "cpu_seconds": 1.0, "gpu_seconds": 40.0}}
    assert cost.compute_ratio({**facts(5.0), "cpu_seconds": 1.0, "gpu_seconds": 4.0}, on_gpu) == pytest.approx(0.1)


def test_what_is_not_known_or_not_alike_has_no_compute_ratio():
    known = {**facts(8.0), "cpu_seconds": 16.0}
    assert cost.compute_ratio(known, {"retrained_0": facts(50.0)}) is None  # cached before CPU seconds were measured
    assert cost.compute_ratio(known, {}) is None
    assert cost.compute_ratio(known, {"retrained_0": {**known, **facts(8.0, threads=1)}}) is None
    assert cost.in_all({"seconds": 2.0, "cpu_seconds": 2.0}, earlier=3.0) == {"seconds": 5.0}


def test_the_examples_ratio_is_to_the_mean_of_the_retrainings():
    seen = {"original": 9.0, "unlearned": 3.0, "retrained_0": 10.0, "retrained_1": 20.0}
    assert cost.examples_ratio(seen) == pytest.approx(0.2)
    assert cost.examples_ratio({"original": 9.0, "unlearned": 3.0}) is None


def test_a_stage_that_two_processes_shared_counts_with_the_circumstances_of_both():
    shared = {**facts(50.0), "circumstances": [{**HERE, "threads": 1}, HERE]}
    assert cost.ratio(facts(5.0), {"retrained_0": shared}) == (
        None, "not measured alike: threads unlearned 2, retrained_0 1 then 2",
    )  # fmt: skip
    assert cost.ratio(shared, {"retrained_0": facts(50.0)})[0] is None


def test_circumstances_name_the_processor_threads_precision_and_load():
    found = provenance.circumstances(Precision("cpu", bf16=True))
    assert found["device"] == "cpu" and found["precision"] == "bf16" and found["processor"]
    assert found["threads"] == torch.get_num_threads() and found["load"] >= 0


@pytest.fixture
def slow(monkeypatch):
    """Let each epoch take .2 s, and each scoring of the validation part .1 s more."""
    end, score = Stepper.end_epoch, ImageTask.score

    def ending(self, loss=None):
        time.sleep(0.2)
        return end(self, loss)

    def scoring(self, model, index):
        time.sleep(0.1 * (len(index) == len(self.data.validation)))
        return score(self, model, index)

    monkeypatch.setattr(Stepper, "end_epoch", ending)
    monkeypatch.setattr(ImageTask, "score", scoring)
    monkeypatch.setattr(train, "Resumable", functools.partial(Resumable, every_seconds=0))


def run(outputs, *words):
    return execute(
        prepare([f"outputs={outputs}", *TINY, "train.epochs=4", "method=finetune", "method.epochs=2", *words])
    )


@pytest.mark.slow
def test_an_interrupted_stage_counts_the_seconds_of_both_processes(tmp_path, slow, monkeypatch):
    score, calls = ImageTask.score, 0

    def interrupted(self, model, index):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt  # in the original's last epoch: three are kept
        return score(self, model, index)

    monkeypatch.setattr(ImageTask, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.setattr(ImageTask, "score", score)
    started = time.perf_counter()
    result = json.loads((run(tmp_path).folder / "result.json").read_text())
    took = time.perf_counter() - started
    assert len(result["curves"]["original"]) == 4
    assert 1.2 <= result["seconds"]["original"] < 1.2 + took
    assert 0.4 <= result["validation_seconds"]["original"] < 0.4 + took
    assert len(result["circumstances"]["original"]) == 2
    assert result["validation_seconds"]["unlearned"] == 0
    seconds, validation = result["seconds"], result["validation_seconds"]
    expected = seconds["unlearned"] / (seconds["retrained_0"] - validation["retrained_0"])
    assert result["cost_ratio"] == pytest.approx(expected) and result["cost_note"] == ""
    assert result["cpu_seconds"].keys() == {"unlearned", "retrained_0"}  # nobody knows those of what was interrupted
    used = result["cpu_seconds"]["retrained_0"] * (1 - validation["retrained_0"] / seconds["retrained_0"])
    assert result["compute_ratio"] == pytest.approx(result["cpu_seconds"]["unlearned"] / used)
    assert result["examples_ratio"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_a_ratio_over_other_threads_is_left_out_and_says_why_everywhere(tmp_path, slow, monkeypatch):
    run(tmp_path, "method.epochs=1")
    here = provenance.circumstances
    monkeypatch.setattr(provenance, "circumstances", lambda precision: {**here(precision), "threads": 64})
    done = run(tmp_path)
    result = json.loads((done.folder / "result.json").read_text())
    assert result["cost_ratio"] is None and "threads unlearned 64, retrained_0" in result["cost_note"]
    assert result["threads"] == 64
    console = Console(file=StringIO(), width=200)
    show(done.folder, reused=False, console=console)
    assert "no ratio, not measured alike: threads unlearned 64" in console.file.getvalue()
    target = write([done.folder], tmp_path / "report")
    row = pandas.read_csv(target / "runs.csv").iloc[0]
    assert pandas.isna(row["cost_ratio"]) and row["cost_note"] == result["cost_note"]
    for page in ("leaderboard.md", "report.html"):
        assert "Cost ratios left out: finetune, seed 0: not measured alike: threads unlearned 64" in (
            (target / page).read_text()
        )


def test_a_report_has_all_measures_of_cost_and_leaves_empty_what_old_runs_do_not_know(tmp_path):
    seen = {"unlearned": 30.0, "retrained_0": 60.0}
    for seed, (compute, examples) in enumerate([(0.2, seen), (0.4, seen)]):
        make_run(tmp_path, f"aaaaaaa{seed}", seed=seed, compute_ratio=compute, examples_seen=examples)
    make_run(tmp_path, "bbbbbbb1", "finetune", seed=0)
    target = write([tmp_path], tmp_path / "report")
    rows = pandas.read_csv(target / "runs.csv").set_index("run_id")
    assert list(rows["compute_ratio"][:2]) == [0.2, 0.4] and list(rows["examples_ratio"][:2]) == [0.5, 0.5]
    assert rows.loc["bbbbbbb1", ["cpu_seconds", "compute_ratio", "examples_ratio"]].isna().all()
    board = (target / "leaderboard.md").read_text()
    assert "| method | seconds | CPU or GPU seconds | examples |" in board
    assert "| distill | 0.100 ± 0.000 | 0.300 ± 1.271 | 0.500 ± 0.000 |" in board
    assert "| finetune | 0.100 |  |  |" in board


def test_a_board_says_where_its_ratios_come_from_different_settings(tmp_path):
    make_run(tmp_path, "aaaaaaa1", threads=1)
    alike = (write([tmp_path], tmp_path / "report") / "leaderboard.md").read_text()
    make_run(tmp_path, "aaaaaaa2", "finetune", threads=2)
    mixed = (write([tmp_path], tmp_path / "report") / "leaderboard.md").read_text()
    assert "different settings" not in alike
    assert "The cost ratios of this board have different settings: threads 1, 2." in mixed
