"""`unlearnbench verify`: which damage it sees in a run, a sweep, an outputs folder and a cache; its exit codes."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from run_folders import make_run
from unlearnbench import cli
from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, sums
from unlearnbench.graph.artefact import Computed, write_artefact
from unlearnbench.graph.cache import Cache
from unlearnbench.runs.sweep_folder import COLUMNS

KEYS = ("a" * 64, "b" * 64)
DEAD = 2**22 + 1
"""No process has this number."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An outputs folder with two runs, a sweep of them, and a cache of two stages and an unfinished state."""
    outputs = tmp_path_factory.mktemp("made")
    runs = [make_run(outputs, f"aaaaaaa{seed}", seed=seed) for seed in range(2)]
    make_run(outputs, "bbbbbbb0", "masking", status="skipped", reason="it needs images")
    sweep = outputs / "sweeps" / "one"
    sweep.mkdir(parents=True)
    rows = [
        {
            "job": seed,
            "dataset": "d",
            "model": "m",
            "method": "distill",
            "seed": seed,
            "status": "done",
            "run_folder": run,
        }
        for seed, run in enumerate(runs)
    ]
    rows.append({"job": 2, "method": "masking", "seed": 0, "status": "skipped", "reason": "it needs images"})
    with (sweep / "jobs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    cache = Cache(outputs / "cache")
    for number, key in enumerate(KEYS):
        facts = {"seconds": 1.0, "key": key}
        write_artefact(cache.folder / "stages" / key, Computed({"x": torch.full((3,), float(number))}, facts))
    write_artefact(cache.unfinished("c" * 64), Computed({"x": torch.ones(3)}, {"epoch": 1}))
    (cache.folder / "runs").mkdir()
    (cache.folder / "runs" / f"{KEYS[0]}.json").write_text(
        json.dumps({"key": KEYS[0], "folder": runs[0].name, "outside": {}})
    )
    return outputs


@pytest.fixture
def outputs(made, tmp_path):
    """A copy that a test may damage, whose sweep names its own runs."""
    copy = shutil.copytree(made, tmp_path / "outputs")
    jobs = copy / "sweeps" / "one" / "jobs.csv"
    jobs.write_text(jobs.read_text().replace(str(made), str(copy)))
    return copy


def verify(capsys, folder):
    """Return the exit code, the lines of the problems, and the last line."""
    code = cli.dispatch(["verify", str(folder)])
    *problems, last = capsys.readouterr().out.splitlines()
    if problems:
        assert problems.pop().startswith("Try: the command of a damaged run again")
    return code, problems, last


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ("", "3 runs, 1 sweep, 3 jobs, 2 stages, 1 unfinished state"),
        ("runs", "3 runs"),
        ("runs/distill_m_d_aaaaaaa0", "1 run"),
        ("sweeps/one", "1 sweep, 3 jobs, 2 runs"),
        ("cache", "2 stages, 1 unfinished state"),
    ],
)
def test_all_is_well(outputs, capsys, place, counts):
    code, problems, last = verify(capsys, outputs / place)
    assert (code, problems) == (0, [])
    assert last.endswith(": all is well")
    assert sorted(last.partition(": ")[2].removesuffix(": all is well").split(", ")) == sorted(counts.split(", "))


RUN, SWEEP, CACHE, STAGE = "runs/distill_m_d_aaaaaaa0", "sweeps/one", "cache", f"cache/stages/{KEYS[0]}"


def flip(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    before = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(one, other):
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def edit(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def other_rows(run):
    """Write metrics.csv with another seed, and sums that fit it."""
    (run / "metrics.csv").write_text((run / "metrics.csv").read_text().replace(",0,1,original", ",7,1,original"))
    sums.write(run)


FAULTS = [
    (RUN, lambda run: flip(run / "metrics.csv"), "metrics.csv has changed"),
    (RUN, lambda run: (run / "sums.json").write_text("null"), "sums.json is not a JSON object"),
    (RUN, lambda run: (run / "sums.json").unlink(), "sums.json is missing"),
    (RUN, lambda run: (run / "result.json").unlink(), "result.json is missing"),
    (RUN, other_rows, "are from different runs"),
    (RUN, lambda run: (edit(run / "result.json", "ratio\": 0.1", "ratio\": \"x\""), sums.write(run)), "cost_ratio"),
    (RUN, lambda run: (run / "scores" / "retrained_forget.npz").unlink(), "scores/retrained_forget.npz is missing"),
    ("runs", lambda runs: swap(runs / "distill_m_d_aaaaaaa0", runs / "distill_m_d_aaaaaaa1"), "name does not fit"),
    ("", lambda outputs: (outputs / "runs" / f".part-{DEAD}-x").mkdir(), "is not whole"),
    ("", lambda outputs: (outputs / "runs" / ".old-x").mkdir(), "is not whole"),
    ("", lambda outputs: (outputs / "runs" / "empty").mkdir(), "sums.json is missing"),
    (SWEEP, lambda sweep: (sweep / "jobs.csv").unlink() or (sweep / ".jobs").mkdir(), "jobs.csv is missing"),
    (SWEEP, lambda sweep: edit(sweep / "jobs.csv", "0,done", "0,perhaps"), "row 1: status"),
    (SWEEP, lambda sweep: edit(sweep / "jobs.csv", "job,", "what,"), "columns of a jobs.csv"),
    (SWEEP, lambda sweep: edit(sweep / "jobs.csv", "_aaaaaaa0", "_aaaaaaa1"), "its seed is not that of job 0"),
    (SWEEP, lambda sweep: edit(sweep / "jobs.csv", "_aaaaaaa0", "_none"), "sums.json is missing"),
    (SWEEP, lambda sweep: (sweep / "jobs.csv").write_bytes(b"\xff\x00"), "jobs.csv: "),
    (STAGE, lambda stage: flip(stage / "tensors.safetensors"), "tensors.safetensors does not have the SHA-256"),
    (STAGE, lambda stage: (stage / "facts.json").unlink(), "facts.json is missing"),
    (STAGE, lambda stage: (stage / "sums.json").write_text("[]"), "sums.json is not a JSON object"),
    (CACHE, lambda cache: swap(*(cache / "stages" / key for key in KEYS)), "under another's name"),
    (CACHE, lambda cache: flip(cache / "unfinished" / ("c" * 64) / "facts.json"), "facts.json does not have the"),
    (CACHE, lambda cache: (cache / "unfinished" / ("d" * 64 + ".new")).mkdir(), "is not whole"),
    (CACHE, lambda cache: (cache / "damaged" / "x").mkdir(parents=True), "set aside"),
    (CACHE, lambda cache: (cache / "parts" / "x").mkdir(parents=True), "is not whole"),
    (CACHE, lambda cache: (cache / "runs" / f"{KEYS[0]}.json").write_text("null"), "is not a JSON object"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_fault_is_a_line_and_exit_code_1(outputs, capsys, number):
    place, damage, says = FAULTS[number]
    damage(outputs / place)
    for folder in {outputs, outputs / place if place != STAGE else outputs / CACHE}:
        code, problems, last = verify(capsys, folder)
        assert code == 1 and any(says in line for line in problems), problems
        assert last.endswith(f": {len(problems)} problem{'' if len(problems) == 1 else 's'}")


def test_a_large_file_is_read_again_whatever_its_stamp_says(outputs, capsys, monkeypatch):
    """A change that keeps size, times and inode, as of a failing disk, is what only `verify` sees."""
    run = outputs / RUN
    (run / "model").mkdir()
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(bytes(2**20))
    os.utime(weights, (1, 1))
    sums.write(run)
    good = sums.file_digest(weights)
    flip(weights)
    monkeypatch.setattr("unlearnbench.files.digests._recalled", lambda path, stamp: good)
    assert sums.damage(run) == []
    assert verify(capsys, run)[0] == 1


def test_what_a_living_process_writes_is_no_fault(outputs, capsys):
    leftovers.named(outputs / "runs").mkdir()
    (outputs / "runs" / f".part-0123abcd-{os.getpid()}-7-01234567").mkdir()
    assert verify(capsys, outputs)[0] == 0


@pytest.mark.parametrize("name", ["nowhere", ".", "file"])
def test_a_folder_that_is_none_of_these_is_a_mistake(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Try: unlearnbench verify"):
        cli.dispatch(["verify", str(tmp_path / name)])


def test_links_in_a_circle_end(outputs, capsys):
    (outputs / "runs" / "again").symlink_to(outputs / "runs")
    (outputs / RUN / "scores" / "again").symlink_to(outputs)
    assert verify(capsys, outputs)[0] == 1


def test_verify_is_told_of_by_the_command_line(command, tmp_path):
    assert "verify PLACE" in command("--help").stdout
    assert "Exit codes" in command("verify", "--help").stdout
    done = command("verify", str(tmp_path))
    assert done.returncode == 2 and "is no run, sweep, outputs folder or cache" in done.stderr
    assert "torch" not in Path(cli.__file__).with_name("runs").joinpath("verify.py").read_text()
