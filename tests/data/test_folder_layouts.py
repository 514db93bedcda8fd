"""Folders of photos and manifests: what is read from them, and clear words for what is wrong with them."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import pandas
import pytest
from photos import CLASSES, encoded, fill, images, photo
from PIL import Image

from unlearnbench.errors import UserError


@pytest.fixture
def root(tmp_path):
    fill(tmp_path / "photos", 10)
    return tmp_path / "photos"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def manifest(root, lines, name="metadata.csv"):
    (root / name).write_text("\n".join(lines) + "\n")


def parts(data):
    return {name: set(data.columns["path"][getattr(data, name)].tolist()) for name in ("train", "validation", "test")}


def test_a_folder_of_classes_is_split_by_seed(root, cache):
    one = images(root, cache)
    info, data = one.info(), one.load()
    assert info.classes == CLASSES and info.shape == (3, 8, 8)
    assert (info.train, info.held_out, info.test) == (24, 2, 6)
    assert info.columns == ("id", "path") == tuple(data.columns)
    assert len(data.train) == 22 and len(data.validation) == 2 and len(data.test) == 6
    assert sorted(np.bincount(data.labels[data.test])) == [2, 2, 2]
    names = data.columns["path"].tolist()
    assert [data.info.classes[label] for label in data.labels] == [name.split("/")[0] for name in names]
    assert len(set(names)) == 30
    assert parts(images(root, cache, seed=1).load()) != parts(data)


def test_splits_in_folders_are_taken_as_they_are(tmp_path, cache):
    for number, name in enumerate(("train", "val", "test")):
        fill(tmp_path / "s" / name, 4 + number, first=10_000 * number)
    data = images(tmp_path / "s", cache).load()
    assert [len(getattr(data, name)) for name in ("train", "validation", "test")] == [12, 15, 18]
    for name, found in parts(data).items():
        assert all(path.startswith("val/" if name == "validation" else f"{name}/") for path in found)


def test_without_a_test_folder_a_share_of_train_is_held_out(tmp_path, cache):
    fill(tmp_path / "s" / "train", 10)
    data = images(tmp_path / "s", cache, validation=0.0).load()
    assert [len(getattr(data, name)) for name in ("train", "validation", "test")] == [24, 0, 6]


def test_nested_folders_count_and_hidden_files_do_not(root, cache):
    (root / "cat" / "2023" / "may").mkdir(parents=True)
    (root / "cat" / "2023" / "may" / "a.png").write_bytes(encoded(photo(77)))
    for name in (".DS_Store", "Thumbs.db", "._a.png"):
        (root / "cat" / name).write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "README.txt").write_text("mine")
    data = images(root, cache).load()
    assert len(data.labels) == 31
    place = data.columns["path"].tolist().index("cat/2023/may/a.png")
    assert data.labels[place] == 0


def test_limits_are_balanced(root, cache):
    data = images(root, cache, limit=20, limit_test=3, test=0.3).load()
    assert len(data.train) + len(data.validation) == 20 and len(data.test) == 3


def test_classes_named_by_numbers_are_in_their_order(tmp_path, cache):
    fill(tmp_path / "n", 4, classes=("10", "9", "2"))
    assert images(tmp_path / "n", cache).info().classes == ("2", "9", "10")


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda root: (root / "fox").mkdir(), "labels without images: fox"),
    (lambda root: (root / "a.jpg").write_bytes(b""), r"1 image without a label.*: a.jpg"),
    (lambda root: fill(root / "train", 2, 500), "beside it cat, dog, owl: a class, or a split"),
    (lambda root: [path.unlink() for name in ("dog", "owl") for path in [*(root / name).iterdir()]]
     and [(root / name).rmdir() for name in ("dog", "owl")], "one class, cat"),
])  # fmt: skip
def test_layouts_that_are_refused(root, cache, spoil, words):
    spoil(root)
    with pytest.raises(UserError, match=words):
        images(root, cache).info()


def test_a_split_with_an_unknown_class_is_refused(tmp_path, cache):
    fill(tmp_path / "s" / "train", 4)
    fill(tmp_path / "s" / "test", 2, 9000, ("cat", "unicorn"))
    with pytest.raises(UserError, match="no training images: unicorn"):
        images(tmp_path / "s", cache).info()


def test_roots_that_are_missing(tmp_path, cache):
    with pytest.raises(UserError, match="needs the folder of your photos"):
        images(None, cache).info()
    with pytest.raises(UserError, match="nowhere does not exist"):
        images(tmp_path / "nowhere", cache).info()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no folders of photos"):
        images(tmp_path / "empty", cache).info()
    (tmp_path / "metadata.csv").write_text("path,label\n")
    with pytest.raises(UserError, match=r"is a file.*\nTry: dataset.root=.* dataset.metadata=.*metadata.csv"):
        images(tmp_path / "metadata.csv", cache).info()


ROWS = [(f"{name}/{number:03}.png", name, f"{label}{number:03}", split, f"p{number % 3}", number)
        for label, name in enumerate(CLASSES)
        for number, split in enumerate(["train"] * 6 + ["val", "validation", "test", "test"])]  # fmt: skip
NAMES = ("path", "label", "id", "split", "patient", "age")


def write_table(root, form):
    if form == "csv":
        manifest(root, [",".join(NAMES), *(",".join(map(str, row)) for row in ROWS)])
    elif form == "jsonl":
        manifest(root, [json.dumps(dict(zip(NAMES, row, strict=True))) for row in ROWS], "metadata.jsonl")
    else:
        pandas.DataFrame(ROWS, columns=NAMES).to_parquet(root / "metadata.parquet")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_manifests_of_every_form_say_the_same(root, cache, form):
    write_table(root, form)
    one = images(root, cache)
    data = one.load()
    assert [len(getattr(data, name)) for name in ("train", "validation", "test")] == [18, 6, 6]
    assert one.info().columns == ("id", "path", "patient", "age")
    at = data.columns["path"].tolist().index("dog/004.png")
    assert data.columns["id"][at] == "1004" and data.columns["patient"][at] == "p1" and data.columns["age"][at] == 4
    assert data.columns["id"].dtype.kind == "U" and data.columns["age"].dtype.kind == "i"


def test_a_manifest_elsewhere_and_without_ids_and_splits(root, cache, tmp_path):
    manifest(tmp_path, ["label,path", *(f"{row[1]},./{row[0]}" for row in ROWS), ""], "mine.csv")
    data = images(root, cache, metadata=tmp_path / "mine.csv").load()
    assert len(data.test) == 6
    assert data.columns["id"].tolist() == data.columns["path"].tolist()


def test_images_that_a_manifest_does_not_name_are_told_of(root, cache, caplog):
    manifest(root, ["path,label", *(f"{row[0]},{row[1]}" for row in ROWS[:-1])])
    with caplog.at_level(logging.WARNING, "unlearnbench"):
        data = images(root, cache).load()
    assert len(data.labels) == 29
    assert "does not name 1 images" in caplog.text and "owl/009.png" in caplog.text


@pytest.mark.parametrize(("line", "words"), [
    ("cat/001.png,", "line 3: no label"),
    (",cat", "line 3: no path"),
    ("cat/nothing.png,cat", "line 3: no such file: cat/nothing.png"),
    ("../secret.png,cat", r"line 3: the path \.\./secret.png is not a file below"),
    ("/etc/passwd,cat", "line 3: the path /etc/passwd is not a file below"),
    ("cat,cat", "line 3: no such file: cat"),
    (".hid/0.png,cat", r"line 3: the path \.hid/0.png is hidden, or a system's"),
    ("cat/\0.png,cat", r"line 3: 'cat/\\x00.png' is no path of a file"),
    ("cat/000.png,dog", "line 3: path cat/000.png is already on line 2"),
    ("cat/001.png,cat,extra", "line 3 has 3 cells; the header has 2 columns"),
    ('"cat/001.png,cat', "line 3 cannot be read as CSV: unexpected end of data"),
])  # fmt: skip
def test_bad_rows_name_the_file_and_the_line(root, cache, line, words):
    manifest(root, ["path,label", "cat/000.png,cat", line])
    with pytest.raises(UserError, match=words) as error:
        images(root, cache).info()
    assert "metadata.csv" in str(error.value)


def test_half_a_pair_of_utf_16_is_no_path(root, cache):
    manifest(root, ['{"path": "cat/\\ud800.png", "label": "cat"}'], "metadata.jsonl")
    with pytest.raises(UserError, match=r"line 1: 'cat/\\ud800.png' is no path of a file"):
        images(root, cache).info()


def test_a_column_that_is_there_twice_is_refused(root, cache):
    manifest(root, ["path,label,label", "cat/000.png,cat,dog"])
    with pytest.raises(UserError, match=r"metadata.csv has a column twice: path, label, label"):
        images(root, cache).info()


def test_unknown_splits_and_ids_that_are_there_twice(root, cache):
    manifest(root, ["path,label,id,split", "cat/000.png,cat,a,train", "cat/001.png,cat,b,tset"])
    with pytest.raises(UserError, match="line 3: unknown split 'tset'; expected train, val, validation or test"):
        images(root, cache).info()
    manifest(root, ["path,label,id", "cat/000.png,cat,a", "cat/001.png,cat,b", "cat/002.png,cat,a"])
    with pytest.raises(UserError, match="line 4: id a is already on line 2"):
        images(root, cache).info()


def test_many_bad_rows_are_counted_and_the_first_ten_shown(root, cache):
    manifest(root, ["path,label", *(f"no{number}.png,cat" for number in range(25))])
    with pytest.raises(UserError, match=r"25 bad row(.|\n)*line 11: (.|\n)*and 15 more") as error:
        images(root, cache).info()
    assert "line 12" not in str(error.value)


def test_bad_files_of_manifests(root, cache):
    manifest(root, ["file;class", "cat/000.png;cat"])
    with pytest.raises(UserError, match=r"no column path; it has file;class.*semicolons"):
        images(root, cache).info()
    manifest(root, ['{"path": "cat/000.png", "label": "cat"}', "{nonsense"], "metadata.jsonl")
    with pytest.raises(UserError, match=r"has metadata.csv and metadata.jsonl"):
        images(root, cache).info()
    (root / "metadata.csv").unlink()
    with pytest.raises(UserError, match=r"metadata.jsonl, line 2"):
        images(root, cache).info()
    (root / "metadata.jsonl").write_text("")
    with pytest.raises(UserError, match="has no rows"):
        images(root, cache).info()
    with pytest.raises(UserError, match=r"dataset.metadata=.*none.csv does not exist"):
        images(root, cache, metadata=root / "none.csv").info()


def leak(tmp_path):
    """A folder in which two training images are in test too: one as a file, one with the same pixels."""
    root = tmp_path / "s"
    fill(root / "train", 6)
    fill(root / "test", 3, 9000)
    (root / "test" / "cat" / "copy.png").write_bytes((root / "train" / "cat" / "000.png").read_bytes())
    with Image.open(root / "train" / "dog" / "001.png") as image:
        image.save(root / "test" / "dog" / "other.bmp")
    return root


def test_a_split_that_leaks_is_refused_by_content(tmp_path, cache):
    with pytest.raises(UserError, match="2 images are in two splits") as error:
        images(leak(tmp_path), cache).info()
    assert "train/cat/000.png = test/cat/copy.png" in str(error.value)
    assert "train/dog/001.png = test/dog/other.bmp" in str(error.value)
    assert "dataset.duplicates=drop" in str(error.value)


def test_leaks_may_be_dropped_or_allowed(tmp_path, cache):
    root = leak(tmp_path)
    dropped = parts(images(root, cache, duplicates="drop", validation=0.0).load())
    assert len(dropped["train"]) == 16 and len(dropped["test"]) == 11
    assert "train/cat/000.png" not in dropped["train"] and "test/cat/copy.png" in dropped["test"]
    allowed = images(root, cache, duplicates="allow", validation=0.0).load()
    assert len(allowed.train) == 18
    names = allowed.columns["path"].tolist()
    first, second = names.index("train/cat/000.png"), names.index("test/cat/copy.png")
    assert allowed.unit[first] == allowed.unit[second]


def test_a_drawn_split_keeps_copies_together(root, cache):
    for number in range(10):
        (root / "cat" / f"copy{number:03}.png").write_bytes((root / "cat" / f"{number:03}.png").read_bytes())
    data = images(root, cache).load()
    places = {name: set(data.unit[getattr(data, name)].tolist()) for name in ("train", "validation", "test")}
    assert not places["train"] & places["test"] and not places["train"] & places["validation"]


def test_corrupt_and_foreign_files_are_listed_or_left_out(root, cache):
    (root / "cat" / "000.png").write_bytes((root / "cat" / "000.png").read_bytes()[:60])
    (root / "dog" / "notes.txt").write_text("my dog")
    (root / "owl" / "link.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match="3 of 32 files are not sound images") as error:
        images(root, cache).info()
    for words in ("cat/000.png: ", "dog/notes.txt: is not an image", "owl/link.png: is a broken link", "corrupt=skip"):
        assert words in str(error.value)
    data = images(root, cache, corrupt="skip").load()
    assert set(data.left_out) == {"cat/000.png", "dog/notes.txt", "owl/link.png"}
    assert len(data.labels) == 29 and "cat/000.png" not in data.columns["path"]


def test_one_channel_needs_one_mean(root, cache):
    with pytest.raises(UserError, match=r"Try: dataset.channels=1 'dataset.mean=\[0.449\]'"):
        images(root, cache, channels=1).info()
    data = images(root, cache, channels=1, mean=(0.449,), std=(0.226,)).load()
    assert data.images.shape == (30, 1, 8, 8)


def test_names_that_cannot_be_shown_do_no_harm(root, cache):
    for name in ("a\x1b[31m.jpg", "b\udcff.jpg"):
        (root / "cat" / name).write_bytes(b"no photo")
    (root / "cat" / "again").symlink_to("..")
    with pytest.raises(UserError, match=r"2 of 32 files") as error:
        images(root, cache).info()
    assert "\x1b" not in str(error.value) and "\udcff" not in str(error.value)
    (root / "cat").rename(root / "cat\udcff")
    with pytest.raises(UserError, match=r"the label 'cat\\udcff' has characters that cannot be shown"):
        images(root, cache, corrupt="skip").info()


def test_pipes_are_never_opened(root, cache):
    os.mkfifo(root / "cat" / "pipe.jpg")
    assert images(root, cache, corrupt="skip").load().left_out == {
        "cat/pipe.jpg": "is a broken link, a pipe or a device"
    }


def test_a_label_without_a_sound_image_is_refused(root, cache):
    for file in (root / "cat").iterdir():
        file.write_bytes(b"no photo")
    with pytest.raises(UserError, match=r"none of the files of these labels is a sound image: cat"):
        images(root, cache, corrupt="skip").info()
