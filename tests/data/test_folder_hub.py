"""Data sets in the format of the hub, and torchvision's by name, through the same cache as photos."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torchvision.datasets
from photos import CLASSES, encoded, fill, photo
from PIL import Image

from unlearnbench.data import decoded as looks
from unlearnbench.data import shards, tables
from unlearnbench.data.images import Augment
from unlearnbench.data.shards import Hub
from unlearnbench.data.torchvision import Torchvision
from unlearnbench.errors import UserError
from unlearnbench.files import outside
from unlearnbench.graph.keys import digest

SHARED = {
    "test": 0.2, "validation": 0.1, "limit": None, "limit_test": None, "size": 8, "channels": 3, "corrupt": "refuse",
    "duplicates": "refuse", "in_memory": None, "mean": (0.5,) * 3, "std": (0.25,) * 3,
    "augment": Augment(crop=1, flip=True), "seed": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _looking_each_time(monkeypatch):
    monkeypatch.setattr(looks, "PATIENCE", 0.0)


def hub(path, cache, **changes):
    words = {"subset": None, "revision": None, "image": None, "label": None, **SHARED, **changes}
    return Hub(path=None if path is None else str(path), cache=str(cache), **words)


def table(first, count, named=True, **more):
    """Rows as the hub's library writes them."""
    cells = [{"bytes": encoded(photo(first + row)), "path": None} for row in range(count)]
    columns = {"image": cells, "label": [row % 3 for row in range(count)], "age": list(range(count)), **more}
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(CLASSES)}}
    found = pyarrow.table(columns)
    return found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})} if named else {})


def shard(root):
    """Two shards for training and one for testing, in Parquet files with small row groups."""
    (root / "data").mkdir(parents=True)
    for name, first, count in (("train-00000-of-00002", 0, 20), ("train-00001-of-00002", 100, 10), ("test-0", 200, 6)):
        pyarrow.parquet.write_table(table(first, count), root / "data" / f"{name}.parquet", row_group_size=4)
    return root


def test_parquet_shards_have_splits_classes_and_columns(tmp_path):
    one = hub(shard(tmp_path / "d"), tmp_path / "cache", in_memory=True)
    info, data = one.info(), one.load()
    assert info.classes == CLASSES and info.columns == ("id", "path", "age")
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 6)
    at = data.columns["path"].tolist().index("data/train-00001-of-00002.parquet#7")
    expected = np.asarray(Image.fromarray(np.asarray(photo(107))).resize((8, 8), box=(3, 0, 17, 14)))
    assert data.labels[at] == 1 and data.columns["age"][at] == 7
    assert np.array_equal(data.on("cpu")[at].numpy(), expected.transpose(2, 0, 1))


def test_a_folder_that_was_saved_to_disk_is_read(tmp_path):
    for split, first, count in (("train", 0, 30), ("test", 500, 6)):
        (tmp_path / "d" / split).mkdir(parents=True)
        rows = table(first, count)
        with pyarrow.ipc.new_stream(tmp_path / "d" / split / "data-00000-of-00001.arrow", rows.schema) as writer:
            writer.write_table(rows)
    saved = hub(tmp_path / "d", tmp_path / "cache").load()
    assert len(saved.test) == 6 and saved.info.classes == CLASSES


def test_a_second_look_decodes_nothing_and_a_change_is_seen(tmp_path, monkeypatch):
    one = hub(shard(tmp_path / "d"), tmp_path / "cache")
    first = digest(one)
    looks._looked.clear()
    with monkeypatch.context() as patched:
        patched.setattr(tables, "decoded", None)
        assert digest(replace(one, in_memory=False)) == first
    pyarrow.parquet.write_table(table(300, 6), tmp_path / "d" / "data" / "test-0.parquet")
    assert one.info() and digest(one) != first


def test_columns_may_be_named(tmp_path):
    (tmp_path / "d").mkdir()
    rows = table(0, 30, named=False, breed=["pug", "lab", "spaniel"] * 10).rename_columns(
        ["scan", "kind", "age", "breed"]
    )
    pyarrow.parquet.write_table(rows, tmp_path / "d" / "rows.parquet")
    with pytest.raises(UserError, match=r"no column is plainly the label.*\n.*scan, kind, age, breed"):
        hub(tmp_path / "d", tmp_path / "cache").info()
    with pytest.raises(UserError, match=r"dataset.label: unknown column 'bred'. Did you mean 'breed'"):
        hub(tmp_path / "d", tmp_path / "cache", label="bred").info()
    info = hub(tmp_path / "d", tmp_path / "cache", image="scan", label="breed").info()
    assert info.classes == ("lab", "pug", "spaniel") and info.columns == ("id", "path", "kind", "age")
    assert info.test == 6


def test_what_hub_data_sets_cannot_be(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    with pytest.raises(UserError, match=r"Try: dataset.path=OWNER/NAME"):
        hub(None, cache).info()
    with pytest.raises(UserError, match=r"no such folder"):
        hub("./nowhere/at/all", cache).info()
    (tmp_path / "d").mkdir()
    with pytest.raises(UserError, match=r"no Parquet or Arrow files"):
        hub(tmp_path / "d", cache).info()
    (tmp_path / "d" / "train.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"train.parquet cannot be read"):
        hub(tmp_path / "d", cache).info()
    (tmp_path / "d" / "train.parquet").unlink()
    for name in ("plain", "other"):
        (tmp_path / "d" / name).mkdir()
        pyarrow.parquet.write_table(table(0, 9, label=[0, 1, 7] * 3), tmp_path / "d" / name / "train.parquet")
    with pytest.raises(UserError, match=r"several data sets: other, plain.\nTry: dataset.subset=other"):
        hub(tmp_path / "d", cache).info()
    with pytest.raises(UserError, match=r"train.parquet#2 has the label 7; expected a class"):
        hub(tmp_path / "d", cache, subset="plain").info()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "pyarrow" else find(name))
    with pytest.raises(UserError, match=r"pip install 'unlearnbench\[hub\]'"):
        hub(tmp_path / "d", cache).info()


def test_tables_that_expand_are_refused_before_they_do(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    one, file = hub(tmp_path / "d", tmp_path / "cache"), tmp_path / "d" / "train.parquet"
    monkeypatch.setattr(tables, "TABLE", 10**6)
    monkeypatch.setattr(tables, "GROUP", 10**6)
    monkeypatch.setattr(tables, "ROWS", 1000)
    monkeypatch.setattr(tables, "COLUMNS", 10)
    pyarrow.parquet.write_table(table(0, 900, note=["x" * 2000] * 900), file)
    with pytest.raises(UserError, match=r"train.parquet: the columns beside the images, up to note, hold more than"):
        one.info()
    cells = [{"bytes": encoded(photo(0, (40, 40))), "path": None}] * 900
    pyarrow.parquet.write_table(table(0, 900).set_column(0, "image", pyarrow.array(cells)), file)
    assert file.stat().st_size < 10**5
    with pytest.raises(UserError, match=r"is in a row group whose images have more than 1,000,000 bytes"):
        one.info()
    pyarrow.parquet.write_table(pyarrow.table({"image": [b""] * 1001, "label": [0] * 1001}), file)
    with pytest.raises(UserError, match=r"has 1,001 rows; at most 1,000 are read"):
        one.info()
    pyarrow.parquet.write_table(table(0, 9, **{f"c{number}": [0] * 9 for number in range(10)}), file)
    with pytest.raises(UserError, match=r"train.parquet has 13 columns; at most 10 are read"):
        one.info()


def test_a_second_table_without_the_label_is_refused(tmp_path):
    folder = shard(tmp_path / "d") / "data"
    pyarrow.parquet.write_table(table(0, 9).drop_columns(["label"]), folder / "train-00001-of-00002.parquet")
    with pytest.raises(UserError, match=r"train-00001-of-00002.parquet has no column label, and test-0.parquet has"):
        hub(tmp_path / "d", tmp_path / "cache").info()


def test_the_hub_is_asked_for_tables_alone(tmp_path, monkeypatch):
    asked = {}

    def snapshot(name, **words):
        asked.update(words, name=name)
        return str(shard(tmp_path / "snapshot"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert hub("somebody/cats", tmp_path / "cache").info().classes == CLASSES
    assert asked == {"name": "somebody/cats", "repo_type": "dataset", "revision": None,
                     "allow_patterns": ["*.parquet", "*.arrow"], "local_files_only": True}  # fmt: skip

    def absent(name, **words):
        raise OSError("no network")

    monkeypatch.setattr("unlearnbench.files.hub.in_reach", lambda: False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", absent)
    with pytest.raises(
        UserError,
        match=r"nobody/cats is not a folder here and cannot be loaded from the hub: the hub cannot be reached",
    ):
        hub("nobody/cats", tmp_path / "cache").info()


def test_a_hub_reference_that_moves_is_seen(tmp_path, monkeypatch):
    folder = shard(tmp_path / "datasets--x" / "snapshots" / "abc")
    (tmp_path / "datasets--x" / "refs").mkdir()
    main = tmp_path / "datasets--x" / "refs" / "main"
    main.write_text("abc")
    monkeypatch.setattr(shards, "_fetched", lambda name, revision: folder)
    looked = outside.look(hub("somebody/cats", tmp_path / "cache"))
    assert outside.renewed(looked) is not None
    main.write_text("abd")
    assert outside.renewed(looked) is None


def vision(name, root, cache, **changes):
    words = {"download": False, "options": {}, **SHARED, **changes}
    return Torchvision(name=name, root=root, cache=str(cache), **words)


def usps(root):
    """Files as torchvision's USPS has them."""
    import bz2

    for name, first, count in (("usps.bz2", 0, 40), ("usps.t.bz2", 900, 10)):
        lines = []
        for row in range(count):
            pixels = np.random.default_rng(first + row).uniform(-1, 1, 256)
            lines.append(f"{row % 4 + 1} " + " ".join(f"{at + 1}:{value:.3f}" for at, value in enumerate(pixels)))
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """USPS in small, without its checksums."""
    (tmp_path / "usps").mkdir()
    usps(tmp_path / "usps")
    monkeypatch.setattr("torchvision.datasets.usps.download_url", lambda *_, **__: None)
    return tmp_path / "usps"


def test_a_data_set_of_torchvision_by_its_class(digits, tmp_path):
    one = vision("USPS", digits, tmp_path / "cache", in_memory=True, download=True)
    data, info = one.load(), one.info()
    assert info.classes == ("0", "1", "2", "3")
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 10)
    plain = torchvision.datasets.USPS(str(digits), train=False, download=True)
    at = data.columns["id"].tolist().index("2/3")
    small = plain[3][0].convert("RGB").resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(data.on("cpu")[at].numpy(), np.asarray(small).transpose(2, 0, 1)) and data.labels[at] == 3


def test_a_second_look_at_torchvision_opens_nothing(digits, tmp_path, monkeypatch):
    one = vision("USPS", digits, tmp_path / "cache", download=True)
    first = digest(one)
    looks._looked.clear()
    monkeypatch.setattr(Torchvision, "_opened", None)
    assert digest(replace(one, in_memory=False)) == first


class Splits(torchvision.datasets.FakeData):
    """A class with a split argument: 12 images for training, 6 for validation, none for testing."""

    classes = ("low", "middle", "high")

    def __init__(self, root, split="train", transform=None, download=False):
        if split not in ("train", "val"):
            raise ValueError(f"Unknown value '{split}' for argument split.")
        super().__init__(30 if split == "train" else 6, (3, 9, 9), 3, random_offset=100 * (split == "val"))


def test_validation_counts_as_test_where_there_is_no_test_split(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "USPS", Splits)
    data = vision("USPS", None, tmp_path / "cache").load()
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 6)
    assert data.info.classes == ("low", "middle", "high")


@pytest.mark.parametrize(("name", "words"), [
    ("Flower102", "Did you mean 'Flowers102'"),
    ("LSUN", "may run code"),
    (None, "expected a class of torchvision.datasets"),
    ("VisionDataset", "expected a class of torchvision.datasets"),
    ("VOCDetection", "cannot be read"),
    ("Flowers102", r"cannot be read from .*\nTry: dataset.root=FOLDER .* or dataset.download=true"),
])  # fmt: skip
def test_classes_of_torchvision_that_cannot_be_read(name, words, tmp_path):
    with pytest.raises(UserError, match=words):
        vision(name, tmp_path, tmp_path / "cache").info()


def test_options_cannot_set_what_runs_code(tmp_path):
    with pytest.raises(UserError, match="cannot set loader"):
        vision("Flowers102", tmp_path, tmp_path / "cache", options={"loader": "os.system"}).info()
    with pytest.raises(UserError, match="unexpected keyword argument 'colour'"):
        vision("Flowers102", tmp_path, tmp_path / "cache", options={"colour": "red"}).info()


def test_options_with_a_value_that_is_not_known(tmp_path):
    with pytest.raises(UserError, match=r"dataset.name=Flowers102: Unknown value 'banana'(.|\n)*Try: dataset.options"):
        vision("Flowers102", tmp_path, tmp_path / "cache", options={"split": "banana"}).info()


class Opening(torchvision.datasets.VisionDataset):
    """A class without a loader, which opens its files itself."""

    def __init__(self, root, download=False):
        super().__init__(root)
        self.images = torchvision.datasets.ImageFolder(root)
        self.classes = self.images.classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        file, label = self.images.samples[number]
        return Image.open(file), label


@pytest.mark.parametrize("name", ["ImageFolder", "SEMEION"])
def test_torchvision_reads_no_format_but_ours(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torchvision.datasets, "SEMEION", Opening)
    fill(tmp_path / "d", 10)
    assert vision(name, tmp_path / "d", tmp_path / "cache").info().classes == CLASSES
    (tmp_path / "d" / "cat" / "x.jpg").write_bytes(encoded(photo(5), "EPS"))
    before = Image.open
    with pytest.raises(UserError, match="1 of 31 files are not sound images"):
        vision(name, tmp_path / "d", tmp_path / "cache").info()
    monkeypatch.setattr("unlearnbench.data.decoding.LARGEST", 100)
    with pytest.raises(UserError, match=r"has .* bytes; at most 100 are read"):
        vision(name, tmp_path / "d", tmp_path / "other").info()
    assert Image.open is before
