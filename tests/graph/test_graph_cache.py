"""The stage cache: hits, damage, races, failures that are not kept, keys that hold no paths."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from unlearnbench.graph.cache import Artefact, Cache
from unlearnbench.graph.keys import describe, digest, source_of


def artefact(value: float = 1.0) -> Artefact:
    return Artefact({"x": torch.full((3,), value)}, {"note": "n"})


def test_second_call_reads_and_does_not_compute(tmp_path):
    cache = Cache(tmp_path)
    first = cache.stage("original", (1, "a"), lambda key: artefact())
    second = cache.stage("original", (1, "a"), lambda key: pytest.fail("computed again"))
    assert (first.reused, second.reused) == (False, True)
    assert torch.equal(second.artefact.tensors["x"], torch.ones(3))
    assert second.artefact.facts["note"] == "n"
    assert second.seconds == first.seconds


def test_other_parts_are_other_stages(tmp_path):
    cache = Cache(tmp_path)
    assert cache.stage("a", (1,), lambda key: artefact()).key != cache.stage("a", (2,), lambda key: artefact()).key


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tensors.safetensors", b"{}"),
        ("facts.json", b"{}"),
        *(("sums.json", text) for text in (b"{}", b"[]", b"5", b"")),
    ],
)
def test_damaged_stage_is_set_aside_and_computed_again(tmp_path, file, content, caplog):
    cache = Cache(tmp_path)
    key = cache.stage("a", (1,), lambda key: artefact()).key
    (tmp_path / "stages" / key / file).write_bytes(content)
    again = cache.stage("a", (1,), lambda key: artefact(2.0))
    assert not again.reused
    assert torch.equal(again.artefact.tensors["x"], torch.full((3,), 2.0))
    assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert "damaged" in caplog.text


def test_failures_are_not_kept(tmp_path):
    cache = Cache(tmp_path)

    def fail(key: str) -> Artefact:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.stage("a", (1,), fail)
    assert not cache.stage("a", (1,), lambda key: artefact()).reused


def test_two_at_once_compute_once(tmp_path):
    computed = []

    def slow(key: str) -> Artefact:
        computed.append(key)
        return artefact()

    threads = [threading.Thread(target=lambda: Cache(tmp_path).stage("a", (1,), slow)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == 1


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
