"""The stage cache: hits, damage, races, failures that are not kept, keys that hold no paths."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from toys import Sum, do
from unlearnbench.graph.keys import describe, digest
from unlearnbench.graph.sources import source_of


def test_a_second_look_reads_and_does_not_compute(tmp_path):
    first, one = do(tmp_path, Sum(1.0))
    second, other = do(tmp_path, Sum(1.0, note=lambda _stage: pytest.fail("computed again")))
    assert first.found == second.found == [1.0]
    assert len(one.computed) == 1 and not other.computed


def test_keys_hold_settings_and_inputs():
    base = Sum(1.0)
    keys = {Sum(1.0).key, Sum(2.0).key, Sum(1.0, (base,)).key, Sum(1.0, (Sum(3.0),)).key, base.key}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tensors.safetensors", b"{}"),
        ("facts.json", b"{}"),
        *(("sums.json", text) for text in (b"{}", b"[]", b"5", b"")),
    ],
)
def test_a_damaged_stage_is_set_aside_and_computed_again(tmp_path, file, content, caplog):
    base = Sum(1.0)
    do(tmp_path, base)
    (tmp_path / "stages" / base.key / file).write_bytes(content)
    job, done = do(tmp_path, base)
    assert job.found == [1.0] and done.computed == {base.key}
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert "damaged" in caplog.text


def test_a_damaged_input_is_computed_again_when_somebody_reads_it(tmp_path):
    base = Sum(1.0)
    do(tmp_path, base)
    (tmp_path / "stages" / base.key / "tensors.safetensors").write_bytes(b"{}")
    job, done = do(tmp_path, Sum(2.0, (base,)))
    assert job.found == [3.0] and len(done.computed) == 2


def test_damage_that_nobody_reads_costs_nothing(tmp_path):
    base = Sum(1.0)
    top = Sum(2.0, (base,))
    do(tmp_path, top)
    (tmp_path / "stages" / base.key / "tensors.safetensors").write_bytes(b"{}")
    job, done = do(tmp_path, top)
    assert job.found == [3.0] and not done.computed


def test_failures_are_not_kept_and_fail_what_needs_them(tmp_path):
    def fail(_stage):
        raise RuntimeError("no")

    job, done = do(tmp_path, Sum(2.0, (Sum(1.0, note=fail),)))
    assert isinstance(job.error, RuntimeError) and len(done.failed) == 2
    job, _done = do(tmp_path, Sum(2.0, (Sum(1.0),)))
    assert job.found == [3.0]


def test_one_failure_does_not_stop_the_others(tmp_path):
    def fail(_stage):
        raise RuntimeError("no")

    _job, done = do(tmp_path, Sum(1.0, note=fail), Sum(2.0))
    assert done.computed == {Sum(2.0).key}


def test_several_at_once_compute_once(tmp_path):
    computed = []
    stages = [Sum(float(number), note=computed.append) for number in range(3)]
    threads = [threading.Thread(target=do, args=(tmp_path, *stages)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stage.number for stage in computed) == [0.0, 1.0, 2.0]


def test_a_place_is_no_part_of_a_key(tmp_path):
    @dataclass(frozen=True)
    class Settings:
        lr: float
        root: Path = field(metadata={"key": False})

    assert digest(Settings(0.1, Path("/a"))) == digest(Settings(0.1, Path("/b")))
    assert digest(Settings(0.1, Path("/a"))) != digest(Settings(0.2, Path("/a")))


def test_a_file_counts_by_its_content(tmp_path):
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    assert describe(tmp_path / "a") == describe(tmp_path / "b")
    (tmp_path / "b").write_text("other")
    assert describe(tmp_path / "a") != describe(tmp_path / "b")


def test_arrays_count_by_their_content():
    assert digest(np.arange(3)) == digest(np.arange(3))
    assert digest(np.arange(3)) != digest(np.arange(4))


def test_source_is_found_without_importing():
    assert source_of("unlearnbench.methods.distill").name == "distill.py"
    assert source_of("unlearnbench.nothing.here") is None
