"""Files from outside: one changed byte is seen by the runs and stages that read the file, and by no others."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sys
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from tofu_folder import parquet_folder, parts

from outsides import CASES, edit, weights
from textsets import PLAIN
from unlearnbench.data.crows_pairs import CrowsPairs
from unlearnbench.data.tofu import Tofu
from unlearnbench.errors import UserError
from unlearnbench.files import digests, outside
from unlearnbench.graph.keys import digest
from unlearnbench.models import imagenet
from unlearnbench.models.resnet import HUB, ResNet18
from unlearnbench.request import plugins
from unlearnbench.runners import execute as runner
from unlearnbench.runs.finished import find
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _settled(monkeypatch, tmp_path):
    """Trust stamps at once, and remember digests in a folder of the test's own."""
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def computed(monkeypatch):
    """Collect the names of the stages that are computed, and not read."""
    names = []
    compute = runner.computed

    def noting(stage, *rest):
        names.append(f"scores_{stage.model.role}_{stage.split}" if stage.kind == "score" else stage.label)
        return compute(stage, *rest)

    monkeypatch.setattr(runner, "computed", noting)
    return names


@pytest.fixture
def digested(monkeypatch):
    """Collect the files from outside that are read for their digest."""
    files = []
    read = digests.file_digest
    monkeypatch.setattr(digests, "file_digest", lambda path: files.append(path) or read(path))
    return files


@pytest.mark.parametrize("kind", CASES)
def test_one_changed_byte_is_seen_by_the_stages_that_read_the_file_and_no_others(
    tmp_path, monkeypatch, computed, digested, kind
):
    (tmp_path / "theirs").mkdir()
    case = CASES[kind](tmp_path / "theirs")
    for file in case.plugins:
        plugins.trust_file(file)

    def request():
        return prepare([f"outputs={tmp_path / 'out'}", *case.words], case.folders)

    first = execute(request())
    assert first.status == "done"
    every = set(computed)
    computed.clear(), digested.clear()
    assert find(request()) == first.folder
    assert not [file for file in digested if tmp_path / "out" not in file.parents]  # nothing changed: none is read
    edit(case.file, case.ends_at)
    assert find(request()) is None
    second = execute(request())
    assert not second.reused and second.folder != first.folder
    reading = {name for name in every if name.startswith(case.stages)}
    assert set(computed) == reading
    assert find(request()) == second.folder


def small_cifar(folder, monkeypatch):
    """Write CIFAR-10's files with 60 images instead of 60,000, and let torchvision expect them."""
    from torchvision.datasets import CIFAR10

    base, rng = folder / CIFAR10.base_folder, np.random.default_rng(0)
    base.mkdir(parents=True)
    written = {}
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        values = {"data": rng.integers(0, 255, (40, 3072), dtype=np.uint8), "labels": [n % 10 for n in range(40)]}
        content = pickle.dumps({"label_names": list("0123456789")} if name == "batches.meta" else values)
        (base / name).write_bytes(content)
        written[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", written["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", written["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": written["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return base


def test_a_damaged_image_file_is_refused_though_its_run_is_finished(tmp_path, monkeypatch):
    base = small_cifar(tmp_path / "data", monkeypatch)
    words = ["dataset=cifar10", f"dataset.root={tmp_path / 'data'}", "dataset.limit=40", "dataset.limit_test=40"]
    small = ["model=tiny_cnn", "train.epochs=1", "method=none", f"outputs={tmp_path / 'out'}"]
    first = execute(prepare([*words, *small]))
    assert find(prepare([*words, *small])) == first.folder
    edit(base / "data_batch_1", (base / "data_batch_1").read_bytes()[-2000:-1990])
    assert find(prepare([*words, *small])) is None
    with pytest.raises(UserError, match="data_batch_1 is damaged"):
        execute(prepare([*words, *small]))


def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path):
    file = tmp_path / "rows"
    file.write_bytes(b"one")
    looked = outside.look(file)
    times = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_mtime_ns == times.st_mtime_ns
    assert outside.renewed(looked) is None


def test_a_file_that_changed_a_moment_ago_is_read_again(tmp_path, monkeypatch, digested):
    monkeypatch.setattr(digests, "SETTLED_NS", 2 * 10**9)
    file = tmp_path / "rows"
    file.write_bytes(b"one")
    looked = outside.look(file)
    assert looked[str(file)]["stamp"] is None  # another edit within the clock's tick would keep it
    digested.clear()
    assert outside.renewed(looked) == looked and digested == [file]
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 3 * 10**9)
    settled = outside.renewed(looked)
    assert settled[str(file)]["stamp"] == list(digests.stamp_of(file))


def test_a_large_file_is_read_once_by_any_number_of_runs_and_keys(tmp_path, digested):
    file = tmp_path / "weights"
    file.write_bytes(bytes(digests.LARGE))
    assert len({digests.known_digest(file), *(outside.look(file)[str(file)]["sha256"] for _ in range(3))}) == 1
    assert digested == [file]
    edit(file, bytes(8))
    assert digests.known_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert digested == [file, file]
    for note in (tmp_path / "home" / "unlearnbench" / "digests").iterdir():
        note.write_text("[]")
    assert digests.known_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_touched_or_copied_file_is_read_once_and_known_again(tmp_path, digested):
    case = weights("checkpoint")
    (tmp_path / "theirs").mkdir()
    made = case(tmp_path / "theirs")
    words = [f"outputs={tmp_path / 'out'}", *made.words]
    first = execute(prepare(words))
    digested.clear()
    os.utime(made.file)
    for _ in range(3):
        assert find(prepare(words)) == first.folder
    assert [file for file in digested if tmp_path / "out" not in file.parents] == [made.file]


def test_a_file_that_appears_in_a_datas_folder_is_seen(tmp_path):
    (tmp_path / "theirs").mkdir()
    case = CASES["bbq"](tmp_path / "theirs")
    words = [f"outputs={tmp_path / 'out'}", *case.words]
    first = execute(prepare(words))
    shutil.copy(case.file, case.file.with_name("Gender.jsonl"))
    assert find(prepare(words)) is None
    second = execute(prepare(words))
    assert second.folder != first.folder
    case.file.with_name("Gender.jsonl").unlink()
    again = execute(prepare(words))
    assert again.reused and again.folder == first.folder


def test_a_file_that_appears_in_a_folder_below_the_datas_own_is_seen(tmp_path):
    """TOFU's parquet lies in folders below its root, where another file may hold more of the same part."""
    pytest.importorskip("pyarrow")
    few = {name: lines[:2] for name, lines in parts().items()}
    data = Tofu(**{**PLAIN, "root": parquet_folder(tmp_path, "data/{name}-00000.parquet", few)})
    known = outside.look(data)
    assert outside.renewed(known) == known
    shutil.copy(tmp_path / "data" / "full-00000.parquet", tmp_path / "data" / "full-00001.parquet")
    assert outside.renewed(known) is None


def test_the_hubs_cache_is_known_by_the_snapshot_that_its_references_name(tmp_path, monkeypatch):
    import huggingface_hub
    from safetensors.torch import save_file

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / f"models--{HUB.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    keys, looked = [], []
    for commit in ("0" * 40, "1" * 40):
        snapshot = repository / "snapshots" / commit
        snapshot.mkdir(parents=True)
        save_file({"x": torch.full((1,), float(commit[0]))}, snapshot / "model.safetensors")
        assert not looked or outside.renewed(looked[-1]) is not None
        (repository / "refs" / "main").write_text(commit)
        imagenet._from_hub.cache_clear()
        spec = ResNet18(stem="auto", dropout=0.0, pretrained=True, checkpoint=None, base=None)
        keys.append(digest(spec))
        assert not looked or outside.renewed(looked[-1]) is None
        looked.append(outside.look(spec))
    imagenet._from_hub.cache_clear()
    assert keys[0] != keys[1]


def test_a_table_of_the_hub_counts_by_what_its_client_keeps(tmp_path, monkeypatch):
    arrow = tmp_path / "versions" / "abc" / "part.arrow"
    arrow.parent.mkdir(parents=True)
    arrow.write_bytes(b"one")
    module = ModuleType("datasets")
    module.load_dataset = lambda hub, revision: {"test": SimpleNamespace(cache_files=[{"filename": str(arrow)}])}
    monkeypatch.setitem(sys.modules, "datasets", module)
    spec = CrowsPairs(root=None, hub="somebody/pairs-of-this-test", revision=None, **PLAIN)
    before, looked = digest(spec), outside.look(spec)
    (tmp_path / "versions" / "def").mkdir()  # a newer version is fetched beside it
    assert outside.renewed(looked) is None
    arrow.write_bytes(b"two")
    assert digest(spec) != before


def test_a_changed_list_of_reported_numbers_is_shown_and_trains_nothing(tmp_path, computed):
    file = tmp_path / "configs" / "experiment" / "published.yaml"
    file.parent.mkdir(parents=True)
    entry = "{role: unlearned, split: test, metric: accuracy, value: 0.61, source: Table IV}"
    file.write_text(f"# @package _global_\nreported: [{entry}]\n")
    words = [f"outputs={tmp_path / 'out'}", "experiment=published", *TINY, "method=none"]

    def request():
        return prepare(words, [tmp_path / "configs"])

    first = execute(request())
    computed.clear()
    edit(file, b"0.61")
    assert find(request()) is None
    assert execute(request()).folder == first.folder and not computed
    assert json.loads((first.folder / "result.json").read_text())["reported"][0]["value"] == 0.6


def test_a_finished_run_is_shown_without_torch(tmp_path, command):
    (tmp_path / "theirs").mkdir()
    case = weights("checkpoint")(tmp_path / "theirs")
    words = [f"outputs={tmp_path / 'out'}", *case.words]
    execute(prepare(words))
    again = command("run", *words, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert "done before" in again.stdout
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert "unlearnbench.files.outside" in imported and "torch" not in imported
