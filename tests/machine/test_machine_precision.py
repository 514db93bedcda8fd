"""The tables of number format and memory layout, by processor; how many threads; whether the machine is busy."""

from __future__ import annotations

import os

import pytest
import torch

from unlearnbench.machine import precision, threads
from unlearnbench.machine.precision import Precision, processor_of, resolve
from unlearnbench.machine.threads import Load, automatic, available, load, using, warn_if_busy

CPUINFO = {
    "amx": "vendor_id : GenuineIntel\nflags : avx512f avx512_bf16 amx_bf16 amx_tile\n",
    "amd_bf16": "vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16\n",
    "other": "vendor_id : GenuineIntel\nflags : avx512f avx512_bf16\n",  # Cooper Lake: not measured
}


@pytest.mark.parametrize("kind", CPUINFO)
def test_processors_are_told_apart_by_what_linux_says_of_them(kind):
    assert processor_of(CPUINFO[kind]) == kind
    assert processor_of("vendor_id : AuthenticAMD\nflags : avx2\n") == processor_of("") == "other"


@pytest.mark.parametrize(
    "kind, model, side, expected",
    [
        ("amx", "resnet18", 32, ("bf16", True)),
        ("amx", "resnet18", 28, ("fp32", True)),
        ("amx", "smollm2_135m", 0, ("bf16", False)),
        ("amd_bf16", "resnet18", 32, ("bf16", True)),
        ("amd_bf16", "resnet18", 28, ("bf16", True)),
        ("amd_bf16", "resnet18", 8, ("fp32", False)),
        ("amd_bf16", "somebody_elses", 32, ("fp32", True)),
        ("amd_bf16", "smollm2_135m", 0, ("bf16", False)),
        ("other", "resnet18", 32, ("fp32", False)),
        ("other", "smollm2_135m", 0, ("fp32", False)),
    ],
)
def test_format_and_layout_are_two_entries_of_the_table(monkeypatch, kind, model, side, expected):
    monkeypatch.setattr(precision, "processor", lambda: kind)
    found = resolve("auto", "cpu", model, side)
    assert (found.name, found.channels_last) == expected


def test_a_format_that_is_asked_for_is_taken_in_its_best_layout(monkeypatch):
    monkeypatch.setattr(precision, "processor", lambda: "amd_bf16")
    assert resolve("fp32", "cpu", "resnet18", 32) == Precision("cpu", bf16=False, channels_last=True)
    assert resolve("bf16", "cpu", "resnet18", 8) == Precision("cpu", bf16=True, channels_last=True)
    assert resolve("bf16", "cpu", "smollm2_135m", 0) == Precision("cpu", bf16=True)
    monkeypatch.setattr(precision, "processor", lambda: "other")
    assert resolve("fp32", "cpu", "resnet18", 32) == Precision("cpu", bf16=False)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_threads_are_the_cores_that_the_process_may_use(monkeypatch, tmp_path):
    allowed = os.sched_getaffinity(0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    assert available() == automatic() == len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available() == automatic() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    "files, cores",
    [
        ({"cpu.max": "max 100000\n"}, 10**6),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 10**6),
        ({"cpu.max": "nonsense\n"}, 10**6),
        ({}, 10**6),
    ],
)
def test_a_containers_quota_counts(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads._quota(tmp_path) == cores


def test_a_quota_of_a_group_within_a_group_counts(monkeypatch, tmp_path):
    own, root = tmp_path / "own", tmp_path / "cgroup"
    own.write_text("0::/user.slice/job.scope\n")
    (root / "user.slice" / "job.scope").mkdir(parents=True)
    (root / "user.slice" / "cpu.max").write_text("100000 100000\n")
    (root / "user.slice" / "job.scope" / "cpu.max").write_text("max 100000\n")
    monkeypatch.setattr(threads, "CGROUP", root)
    monkeypatch.setattr(threads, "OWN_GROUP", own)
    assert available() == 1


def test_omp_num_threads_lowers_what_auto_takes_and_never_raises_it(monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 8)
    for asked, expected in (("3", 3), ("64", 8), ("2,1", 2), ("", 8), ("many", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert automatic() == expected


def test_a_machine_is_busy_where_its_load_was_above_its_cores_and_still_is():
    assert Load(2, 2.5, 3).busy and Load(2, 2.1, 2).busy
    assert not Load(2, 2.5, 1).busy  # what ran in the last minute has ended
    assert not Load(2, 2.0, 9).busy


def test_a_busy_machine_is_told_of_with_the_word_to_type(monkeypatch, caplog):
    monkeypatch.setattr(threads, "load", lambda: Load(2, 4.24, 4))
    warn_if_busy(2)
    assert "load 4.2 on 2 cores" in caplog.text and "threads=1" in caplog.text
    caplog.clear()
    warn_if_busy(1)
    assert "busy" in caplog.text and "threads=1" not in caplog.text


def test_threads_are_set_for_the_block_alone():
    before = torch.get_num_threads()
    with using(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_the_load_is_read_from_the_system(monkeypatch):
    seen = load()
    assert seen.cores == os.cpu_count() and seen.average == pytest.approx(os.getloadavg()[0], abs=1)
