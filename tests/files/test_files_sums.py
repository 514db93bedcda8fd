"""Run folders that somebody damaged or mixed up: seen by `run`, `load` and the report, and made again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unlearnbench
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.report.collect import read
from unlearnbench.results.result import read_result
from unlearnbench.runs.finished import find
from unlearnbench.runs.launch import execute, prepare
from worlds import HERE, TINY

pytestmark = pytest.mark.slow

WORDS = (*TINY, "method=none")


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Let caplog hear the package's log, which the command line keeps to itself in a process that ran it."""
    monkeypatch.setattr(logging.getLogger("unlearnbench"), "propagate", True)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder with one finished run, its model in it, and a second of another seed."""
    folder = tmp_path_factory.mktemp("outputs")
    for words in ((), ("seed=1",)):
        execute(request(folder, *words))
    return folder


@pytest.fixture
def copy(outputs, tmp_path):
    """A copy of it that a test may damage."""
    return shutil.copytree(outputs, tmp_path / "outputs")


def request(outputs, *words):
    return prepare([f"outputs={outputs}", *WORDS, *words])


def run_of(outputs, seed=0) -> Path:
    of = {json.loads((run / "result.json").read_text())["seed"]: run for run in (outputs / "runs").iterdir()}
    return of[seed]


def content(run):
    """Return what must be the same whenever the run is made again."""
    kept = [run / "metrics.csv", run / "model" / "model.safetensors", *sorted((run / "scores").iterdir())]
    return [file.read_bytes() for file in kept]


def edit(run, name, old, new):
    text = (run / name).read_text()
    assert old in text
    (run / name).write_text(text.replace(old, new, 1))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def swap(one, other):
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def a_digit(run):
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    lines[1] = lines[1].rstrip("\n")[:-1] + ("1" if lines[1].rstrip("\n")[-1] != "1" else "2") + "\n"
    (run / "metrics.csv").write_text("".join(lines))


def empty(file, text=b""):
    file.write_bytes(text)


def relist(run, change):
    listed = json.loads((run / "sums.json").read_text())
    change(listed)
    (run / "sums.json").write_text(json.dumps(listed))


def a_pipe(file):
    file.unlink()
    os.mkfifo(file)


def a_folder(file):
    file.unlink()
    file.mkdir()


DAMAGE = {
    "a digit of metrics.csv": (a_digit, "metrics.csv"),
    "metrics.csv cut in half": (lambda run: cut(run / "metrics.csv"), "metrics.csv"),
    "metrics.csv removed": (lambda run: (run / "metrics.csv").unlink(), "metrics.csv"),
    "metrics.csv a pipe": (lambda run: a_pipe(run / "metrics.csv"), "metrics.csv"),
    "metrics.csv a folder": (lambda run: a_folder(run / "metrics.csv"), "metrics.csv"),
    "the seed": (lambda run: edit(run, "result.json", '"seed": 0', '"seed": 5'), "result.json"),
    "the status": (lambda run: edit(run, "result.json", '"status": "done"', '"status": "skipped"'), "result.json"),
    "result.json nested": (lambda run: empty(run / "result.json", b"[" * 100_000), "result.json"),
    "result.json removed": (lambda run: (run / "result.json").unlink(), "result.json"),
    "the configuration": (lambda run: edit(run, "config.yaml", "seed: 0", "seed: 9"), "config.yaml"),
    "scores swapped": (
        lambda run: swap(run / "scores" / "original_test.npz", run / "scores" / "retrained_test.npz"),
        "scores/original_test.npz",
    ),
    "scores cut": (lambda run: cut(run / "scores" / "unlearned_forget.npz"), "scores/unlearned_forget.npz"),
    "all scores removed": (lambda run: shutil.rmtree(run / "scores"), "scores/"),
    "scores added": (
        lambda run: shutil.copy(run / "scores" / "original_test.npz", run / "scores" / "retrained_1_test.npz"),
        "scores/retrained_1_test.npz",
    ),
    "splits of another kind": (lambda run: np.savez(run / "splits.npz", forget=np.arange(3)), "splits.npz"),
    "weights cut": (lambda run: cut(run / "model" / "model.safetensors"), "model/model.safetensors"),
    "weights removed": (lambda run: (run / "model" / "model.safetensors").unlink(), "model/model.safetensors"),
    "a file beside the weights": (lambda run: empty(run / "model" / "modeling.py"), "model/modeling.py"),
    "no sums": (lambda run: (run / "sums.json").unlink(), "sums.json"),
    "sums cut": (lambda run: cut(run / "sums.json"), "sums.json"),
    **{
        f"sums {text[:20]!r}": (lambda run, text=text: empty(run / "sums.json", text), "sums.json")
        for text in (b"", b"null", b"{}", b"[]", b'{"metrics.csv": null}', b"[" * 100_000, b"\xff\x00", b'{"a": 1}')
    },
    "sums of fewer files": (
        lambda run: (relist(run, lambda listed: listed.pop("metrics.csv")), a_digit(run)),
        "sums.json does not list metrics.csv",
    ),
    "sums of a file elsewhere": (
        lambda run: relist(run, lambda listed: listed.update({"../../../etc/passwd": "0" * 64})),
        "passwd is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_and_the_run_made_again_from_the_cache(copy, caplog, case):
    run = run_of(copy)
    damage, named = DAMAGE[case]
    before = content(run)
    damage(run)
    with pytest.raises(UserError, match="Try: ") as refused:
        unlearnbench.load(run)
    if (run / "result.json").exists():
        assert named in str(refused.value)
    with pytest.raises((OSError, ValueError)):
        read(run)  # what a report leaves the run out for
    assert find(request(copy)) is None
    again = execute(request(copy))
    assert not again.reused and again.folder == run
    assert "is damaged, and made again from the cache" in caplog.text and named in caplog.text
    assert set(read_result(run)["reused"].values()) == {True}
    assert content(run) == before and sums.damage(run) == []
    assert find(request(copy)) == run


def test_two_runs_under_each_others_names_are_told_apart(copy, caplog):
    first, second = run_of(copy), run_of(copy, 1)
    before = content(first)
    swap(first, second)
    for run in (first, second):
        assert "name does not fit" in sums.damage(run)[0]
        with pytest.raises(UserError, match="name does not fit"):
            unlearnbench.load(run)
    assert not execute(request(copy)).reused
    assert content(first) == before and sums.damage(first) == [] and sums.damage(second)


def test_a_sound_run_is_found_whatever_is_beside_it(copy, caplog):
    run = run_of(copy)
    (run / "notes.txt").write_text("mine")
    (run / "run.log").write_text("")
    (run / "my_own.png").write_bytes(b"png")
    (run / "model" / ".DS_Store").write_bytes(b"")
    assert find(request(copy)) == run and execute(request(copy)).reused
    assert unlearnbench.load(run) is not None
    assert not caplog.records


def test_a_moved_folder_of_runs_is_as_sound_as_before(copy, tmp_path):
    moved = (copy / "runs").rename(tmp_path / "elsewhere")
    link = tmp_path / "latest"
    link.symlink_to(next(moved.iterdir()))
    assert [sums.damage(run) for run in moved.iterdir()] == [[], []]
    assert sums.damage(link) == []


def test_a_link_to_another_run_is_not_this_one(copy):
    first, second = run_of(copy), run_of(copy, 1)
    second.rename(copy / "kept")
    second.symlink_to(first)
    assert find(request(copy, "seed=1")) is None
    assert not execute(request(copy, "seed=1")).reused


def test_sums_are_renewed_with_the_reported_numbers_and_bless_nothing_else(copy):
    run = run_of(copy)
    a_digit(run)
    sums.renew(run, "result.json")
    assert sums.damage(run) == ["metrics.csv has changed since the run ended"]


def test_a_large_file_is_remembered_by_its_stamp(tmp_path, monkeypatch):
    """What keeps size, times and inode is the same file to `run`; `verify` reads it again."""
    run = tmp_path / "m_m_d_00000000"
    run.mkdir()
    for name, text in (("config.yaml", b"a: 1"), ("result.json", b"{}"), ("model.bin", bytes(2**20))):
        (run / name).write_bytes(text)
        os.utime(run / name, (1, 1))
    names = dict(zip(("method", "model", "dataset", "run_id"), ("m", "m", "d", "00000000"), strict=True))
    (run / "result.json").write_text(json.dumps({**names, "status": "skipped"}))
    sums.write(run)
    asked = []
    assert sums.damage(run, lambda path: asked.append(path.name) or sums.file_digest(path)) == []
    assert asked == ["config.yaml", "model.bin", "result.json"]


def test_a_finished_run_with_its_sums_is_found_without_torch(copy):
    program = (
        "import sys; from unlearnbench.cli import dispatch; sys.exit(dispatch(sys.argv[1:]) or 'torch' in sys.modules)"
    )
    words = ["run", f"outputs={copy}", *WORDS]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, env=HERE
    )
    assert done.returncode == 0, done.stderr
    assert "shown again" in done.stdout


def test_a_model_is_kept_where_a_sweep_makes_a_damaged_run_again(copy):
    a_digit(run_of(copy))
    from dataclasses import replace

    execute(replace(request(copy), sweep_jobs=1))
    assert (run_of(copy) / "model" / "model.safetensors").exists()


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_load_says_what_is_no_run_folder(tmp_path, folder):
    with pytest.raises(UserError, match="no run folder"):
        unlearnbench.load(tmp_path / folder)


@pytest.mark.parametrize("seed", ["9223372036854775808", "1" + "0" * 30])
def test_a_seed_of_more_than_63_bits_is_refused(tmp_path, seed):
    with pytest.raises(UserError, match=f"seed={seed}"):
        execute(request(tmp_path / "outputs", f"seed={seed}"))
    assert not (tmp_path / "outputs").exists()
