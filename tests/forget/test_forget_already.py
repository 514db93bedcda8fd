"""`forget.already`: what was forgotten before is in no part of the data, and trained on by nobody."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from named import images, listed

from unlearnbench.errors import UserError
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.random import Random
from unlearnbench.forget.splits import full_label, remarks, requests
from unlearnbench.forget.stream import Stream
from unlearnbench.graph.stage import in_order
from unlearnbench.runs.launch import execute, found, prepare
from unlearnbench.stages import benches
from worlds import TINY, notes

DATA = images()
TRAIN = DATA.train.tolist()
FIRST = (*TRAIN[:6], *DATA.validation[:2].tolist())


@pytest.fixture
def first(tmp_path):
    file = tmp_path / "first.txt"
    file.write_text("\n".join(f"photo-{place}" for place in FIRST))
    return file


def sets(tmp_path, first):

    by_class = ByClass(classes=(0,), seed=0, already=(first,))
    second = listed(tmp_path, "\n".join(f"photo-{place}" for place in TRAIN[6:20]), already=(first,))
    later = (ByClass(classes=(0,), seed=0), Random(fraction=0.2, count=None, seed=0))
    return [
        by_class,
        Random(fraction=0.5, count=None, seed=0, already=(first,)),
        second,
        Stream(requests=later, already=(first,)),
    ]


def test_it_is_in_its_own_part_alone_for_every_forget_set(tmp_path, first):

    for forget in sets(tmp_path, first):
        for splits in requests(forget, DATA):
            arrays = splits.arrays()
            assert arrays.pop("already").tolist() == sorted(FIRST)
            assert not any(np.isin(FIRST, part).any() for part in arrays.values())
            assert np.array_equal(splits.test, DATA.test)


def test_it_is_in_the_name(tmp_path, first):
    for forget in sets(tmp_path, first):
        assert "-already8-" in full_label(forget, DATA.info)
    copy = tmp_path / "copy.txt"
    copy.write_text(first.read_text() + "\nphoto-99\n")
    names = {full_label(listed(tmp_path, "photo-1\n", already=files), DATA.info) for files in ((), (first,), (copy,))}
    assert len(names) == 3


def test_a_row_in_both_lists_is_named(tmp_path, first):

    second = listed(tmp_path, "\n".join(f"photo-{place}" for place in TRAIN[5:9]), already=(first,))
    with pytest.raises(UserError, match=rf"1 of 4 entries are in forget\.already too: 'photo-{TRAIN[5]}'"):
        requests(second, DATA)
    stream = Stream(requests=(listed(tmp_path, f"{TRAIN[5]}.jpg\n{TRAIN[9]}.jpg"),), already=(first,))
    with pytest.raises(UserError, match=rf"are in forget\.already too: '{TRAIN[5]}\.jpg'"):
        requests(stream, DATA)


def test_what_was_never_trained_on_or_is_unknown_is_named(tmp_path, first):

    first.write_text(f"photo-{TRAIN[0]}\nphoto-{DATA.test[0]}\n")
    forget = Random(fraction=0.1, count=None, seed=0, already=(first,))
    with pytest.raises(UserError, match=rf"'photo-{DATA.test[0]}' \(test\)"):
        requests(forget, DATA)
    first.write_text("who\n")
    with pytest.raises(UserError, match="Unknown: 'who'"):
        requests(forget, DATA)


def test_twins_of_text_go_with_whole_pairs(tmp_path):

    data, file = notes().load(), tmp_path / "first.txt"
    file.write_text("\n".join(map(str, data.train[:3].tolist())))
    forget = Random(fraction=0.2, count=None, seed=0, whole_pairs=True, already=(file,))
    (splits,) = requests(forget, data)
    known = np.concatenate([splits.retain, splits.forget, splits.validation])
    assert len(splits.already) > 3 and not np.isin(data.unit[known], data.unit[splits.already]).any()


def test_copies_of_a_forgotten_photo_are_not_trained_on_again(tmp_path):
    unit = np.arange(len(DATA.labels))
    unit[TRAIN[7]] = unit[DATA.validation[0]] = unit[TRAIN[0]]
    data, file = dataclasses.replace(DATA, copies=unit), tmp_path / "first.txt"
    file.write_text(f"photo-{TRAIN[0]}\n")
    forget = Random(fraction=0.2, count=None, seed=0, already=(file,))
    (splits,) = requests(forget, data)
    assert splits.already.tolist() == sorted([TRAIN[0], TRAIN[7], int(DATA.validation[0])])
    (said,) = remarks(forget, data)
    assert "3 rows were forgotten before (2 of them are copies of listed images)" in said


def test_a_copy_of_a_forgotten_photo_can_be_forgotten_now(tmp_path):
    unit = np.arange(len(DATA.labels))
    unit[TRAIN[7]] = unit[TRAIN[0]]
    data, file = dataclasses.replace(DATA, copies=unit), tmp_path / "first.txt"
    file.write_text(f"photo-{TRAIN[0]}\n")
    second = listed(tmp_path, f"photo-{TRAIN[7]}\nphoto-{TRAIN[8]}\n", already=(file,))
    (splits,) = requests(second, data)
    assert splits.already.tolist() == [TRAIN[0]] and splits.forget.tolist() == TRAIN[7:9]


def test_a_request_of_a_stream_has_none_of_its_own(tmp_path, first):

    one = ByClass(classes=(0,), seed=0, already=(first,))
    with pytest.raises(UserError, match=r"forget\.requests\[0\] has already"):
        Stream(requests=(one, ByClass(classes=(1,), seed=0))).label(DATA.info)


EVERYTHING = ("eval=[standard,lira,relearn,quantise]", "eval.lira.models=9")
TEXT = ("dataset=clinical_notes", "model=llama_tiny", "dataset.limit=120", "dataset.limit_test=24", "train.epochs=1")


@pytest.mark.parametrize("words", [TINY, TEXT], ids=["images", "text"])
def test_no_stage_sees_what_was_forgotten_before_nor_does_the_tokenizer(words, tmp_path, monkeypatch):
    """The trap: in the second request with a naive tool, what the first one forgot is retained, and learnt again."""
    first, known = [2, 3, 5, 8, 13, 21], []
    (tmp_path / "first.txt").write_text("\n".join(map(str, first)))
    (tmp_path / "second.txt").write_text("4\n6\n9\n")
    bind = benches.bind
    monkeypatch.setattr(benches, "bind", lambda data, retain, *rest: known.append(retain) or bind(data, retain, *rest))
    lists = [f"forget.file={tmp_path / 'second.txt'}", f"forget.already=[{tmp_path / 'first.txt'}]"]
    request = prepare([*words, "method=finetune", "forget=list", *lists, *EVERYTHING, f"outputs={tmp_path}"])
    job = found(request)
    job.draw(benches.Benches())
    seen = [known[0], *job.picture[0].world.splits.scored()]
    for stage in in_order(job.stages):
        parts = {name: getattr(stage, name, None) for name in ("index", "validation", "taught", "held")}
        world = getattr(stage, "world", None)
        parts |= world.splits.arrays() if world else {}
        assert parts.pop("already", None) is None or stage.kind in ("unlearn", "relearn")
        seen += [part for part in parts.values() if part is not None]
    seen = [part[1] if isinstance(part, tuple) else part for part in seen]
    assert len(seen) > 20 and not any(np.isin(first, part).any() for part in seen)
    assert sum(np.isin([4, 6, 9], part).all() for part in seen) > 5


@pytest.mark.parametrize("words", [TINY, pytest.param(TEXT, marks=pytest.mark.slow)], ids=["images", "text"])
def test_a_second_request_after_the_first(words, tmp_path):
    (tmp_path / "first.txt").write_text("2\n3\n5\n")
    (tmp_path / "second.txt").write_text("4\n6\n9\n")
    lists = [f"forget.file={tmp_path / 'second.txt'}", f"forget.already=[{tmp_path / 'first.txt'}]"]
    done = execute(prepare([*words, "method=finetune", "forget=list", *lists, f"outputs={tmp_path}"]))
    splits = dict(np.load(done.folder / "splits.npz"))
    assert splits.pop("already").tolist() == [2, 3, 5] and splits["forget"].tolist() == [4, 6, 9]
    assert not any(np.isin([2, 3, 5], part).any() for part in splits.values())
    label = json.loads((done.folder / "result.json").read_text())["forget"]
    assert label.startswith("list:second-") and "-already3-" in label
