"""Data files of others: a small file that stands for a large table, or is no file at all, ends with one message."""

from __future__ import annotations

import hashlib
import os
import pickle

import pytest

from unlearnbench.data import files
from unlearnbench.data.cifar import Cifar10
from unlearnbench.data.stereoset import StereoSet
from unlearnbench.data.tofu_official import rows_of
from unlearnbench.errors import UserError

WIDE = 2_000
TABLES = {
    "deep JSON": ("t.jsonl", lambda: b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1: maximum recursion"),
    "a number of 5,000 digits": ("t.jsonl", lambda: b'{"a": ' + b"9" * 5000 + b"}", "line 1: Exceeds the limit"),
    "a name a row": ("t.jsonl", lambda: b"".join(b'{"a%d": 1}\n' % n for n in range(WIDE)), "has 2,000 columns"),
    "a row that is a list": ("t.jsonl", lambda: b"[1]\n", "line 1: expected an object"),
    "bytes": ("t.jsonl", lambda: bytes(range(128, 256)), "line 1 is not text in UTF-8"),
    "nothing": ("t.csv", lambda: b"", "is empty"),
    "many columns": ("t.csv", lambda: b"a" + b",a" * WIDE + b"\n" * 100_000, "has 2,001 columns"),
    "bytes as csv": ("t.csv", lambda: bytes(range(128, 256)), "cannot be read as csv"),
    "no parquet": ("t.parquet", lambda: b"PAR1" + b"\xff" * 100 + b"PAR1", "cannot be read as parquet"),
}


@pytest.mark.parametrize("case", TABLES.values(), ids=TABLES)
def test_a_crafted_table_ends_with_one_message(case, tmp_path):
    name, make, says = case
    (tmp_path / name).write_bytes(make())
    with pytest.raises(UserError) as caught:
        files.read_table(tmp_path / name, "hub", None, ("a",), "dataset.root=FILE")
    assert says in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_a_pipe_is_no_table(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=r"is a pipe|is no .* file"):
        files.read_table(tmp_path, "hub", None, ("a",), "dataset.root=FILE")


def test_a_large_file_is_not_read(tmp_path):
    with (tmp_path / "t.jsonl").open("wb") as file:
        file.truncate(2 * 2**30)
    with pytest.raises(UserError, match=r"has 2,048.0 MiB; at most 1,024.0 MiB"):
        files.json_lines(tmp_path / "t.jsonl")


@pytest.mark.parametrize("nested", [False, True])
def test_a_parquet_bomb_is_not_opened(nested, tmp_path):
    """Four gigabytes of a text or two, in a few kilobytes, as a column or a list in each row."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array(["x" * 500_000]))
    lists = pa.ListArray.from_arrays(pa.array(range(4001), pa.int32()), column)
    table = pa.table({"question": column, "answer": lists if nested else column})
    parquet.write_table(table, tmp_path / "full.parquet", compression="zstd")
    assert (tmp_path / "full.parquet").stat().st_size < 2**20
    for read in (
        lambda: files.read_table(tmp_path / "full.parquet", "hub", None, ("a",), "dataset.root=FILE"),
        lambda: rows_of(tmp_path, "full"),
    ):
        with pytest.raises(UserError, match=r"bytes or more, too many"):
            read()


def test_stereoset_that_is_deep_ends_with_one_message(tmp_path):
    (tmp_path / "dev.json").write_bytes(b"[" * 100_000)
    one = StereoSet(
        limit=None, limit_test=None, limit_validation=None, context=16, too_long="cut", seed=0, root=tmp_path
    )
    with pytest.raises(UserError, match=r"dev\.json"):
        one.load()


class Code:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_crafted_cifar_is_never_unpickled(tmp_path, capsys):
    from torchvision.datasets import CIFAR10

    from unlearnbench.request.compose import compose
    from unlearnbench.request.config import build

    base = tmp_path / CIFAR10.base_folder
    base.mkdir()
    for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list, ("batches.meta", "")):
        (base / name).write_bytes(pickle.dumps({"data": Code(), "labels": Code()}))
    words = ["dataset=cifar10", f"dataset.root={tmp_path}"]
    one = build(compose(words).request.config["dataset"], "dataset")
    assert isinstance(one, Cifar10)
    for step in (one.check, one.load):
        with pytest.raises(UserError, match=r"damaged|cannot be read"):
            step()
    assert "code ran" not in capsys.readouterr().out
    assert hashlib.md5((base / "data_batch_1").read_bytes()).hexdigest() != CIFAR10.train_list[0][1]
    (base / "data_batch_1").unlink()
    os.mkfifo(base / "data_batch_1")
    with pytest.raises(UserError, match=r"data_batch_1 is a pipe"):
        one.check()
