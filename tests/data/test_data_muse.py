"""MUSE's local copy: both formats, what is trained on, held out and asked, and files that are missing or other ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from muse_folder import json_copy, parquet_copy, parts

from textsets import PLAIN
from unlearnbench.data.muse import Muse, pieces
from unlearnbench.errors import UserError
from unlearnbench.forget.given import Given


def muse(root, **changes):
    return Muse(**{**PLAIN, "root": root, "corpus": "news", "words": 1000, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return json_copy(tmp_path_factory.mktemp("muse"))


def answers(data, index):
    return [data.answer(place) for place in index.tolist()]


def test_forget_and_both_retain_parts_are_trained_on_and_holdout_is_not(folder):
    data, rows = muse(folder).load(), parts()
    splits = Given(name="forget").split(data)
    assert answers(data, splits.forget) == rows["raw/forget"]
    assert answers(data, splits.retain) == rows["raw/retain1"] + rows["raw/retain2"]
    assert answers(data, data.test) == rows["raw/holdout"] and not len(data.validation)
    assert (data.info.train, data.info.test) == (len(data.train), len(data.test)) and not data.chat
    assert not np.intersect1d(splits.forget, splits.retain).size


def test_probes_are_the_authors_prompts(folder):
    data, rows = muse(folder).load(), parts()
    assert set(data.probes) == {"forget_verbmem", "forget_knowmem", "retain_knowmem"}
    assert data.probes["forget_verbmem"].references == tuple(row["gt"] for row in rows["verbmem/forget"])
    one, shown = rows["knowmem/forget_qa"][0], rows["knowmem/forget_qa_icl"]
    examples = "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in shown)
    assert data.probes["forget_knowmem"].prompts[0] == f"{examples}Question: {one['question']}\nAnswer: "
    assert [len(data.texts[name].test) for name in ("forget", "holdout")] == [12, 12]


def test_the_hubs_parquet_is_the_same_data(folder, tmp_path):
    pytest.importorskip("pyarrow")
    first, second = muse(folder).load(), muse(parquet_copy(tmp_path)).load()
    assert first.fingerprint(first.train) == second.fingerprint(second.train)
    assert first.probes == second.probes


def test_limits_leave_rows_of_both_parts(folder):
    data = muse(folder, limit=18, limit_test=5).load()
    splits = Given(name="forget").split(data)
    assert len(splits.forget) + len(splits.retain) == 18 == data.info.train
    assert min(len(splits.forget), len(splits.retain)) >= 2 and len(data.test) == 5


def test_long_texts_are_cut_at_words_and_nothing_is_lost():
    text = "one  two\nthree four\tfive"
    assert list(pieces(text, 2)) == ["one  two", "three four", "five"]
    assert list(pieces(text, 5)) == [text] and list(pieces(f"\n{text} ", 99)) == [text]


def test_without_a_folder_the_message_says_which_one():
    with pytest.raises(UserError, match=r"(?s)MUSE-News needs a local copy.*Try: dataset\.root=FOLDER"):
        muse(None).info()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("verbmem/forget", None, "lacks MUSE-News's verbmem/forget"),
        ("verbmem/forget", [{"prompt": "a"}], "row 1 has no text in gt"),
        ("knowmem/retain_qa", {"question": "a"}, "expected a list of rows"),
        ("privleak/holdout", [3], "expected objects with text"),
        ("raw/retain2", [], "holds 0 rows"),
        ("raw/forget", [" ", ""], "only empty texts"),
    ],
)
def test_missing_and_other_files_are_named(tmp_path, name, content, said):
    folder = json_copy(tmp_path)
    file = folder / f"{name}.json"
    file.unlink() if content is None else file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said) as error:
        muse(folder).check()
    assert "Try: dataset.root=FOLDER, a local copy" in str(error.value)
