"""Streams: requests one after the other, each from the last result."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest

from unlearnbench.errors import UserError
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.random import Random
from unlearnbench.forget.stream import Stream
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY, synthetic

FIRST, SECOND = ByClass(classes=(0,), seed=0), ByClass(classes=(1,), seed=0)


def test_what_is_forgotten_stays_forgotten():
    data = synthetic().load()
    one, two = Stream(requests=(FIRST, SECOND)).requests_of(data)
    assert np.array_equal(one.forget, FIRST.split(data).forget)
    assert not np.intersect1d(two.retain, np.union1d(one.forget, two.forget)).size
    assert len(two.retain) + len(two.forget) + len(one.forget) == len(data.train)
    assert not np.intersect1d(two.test_retain, FIRST.split(data).test_forget).size
    assert set(data.labels[two.validation_retain]) == {2, 3}


def test_rows_of_an_earlier_request_are_not_forgotten_again():
    data = synthetic().load()
    some = Random(fraction=0.5, count=None, seed=3)
    one, two = Stream(requests=(FIRST, some)).requests_of(data)
    assert not np.intersect1d(one.forget, two.forget).size


def test_a_request_that_forgets_nothing_more_is_refused():
    with pytest.raises(UserError, match=r"forget.requests\[1\] has 0 rows to forget"):
        Stream(requests=(FIRST, FIRST)).requests_of(synthetic().load())
    both = ByClass(classes=(0, 1), seed=0)
    with pytest.raises(UserError, match=r"forget.requests\[2\] .*\(forget.requests\[0\], forget.requests\[1\] took"):
        Stream(requests=(FIRST, SECOND, both)).requests_of(synthetic().load())


def test_a_stream_is_a_chain_with_references_for_the_first_and_last(tmp_path):
    requests = (
        "[{forget: class, classes: [0]}, {forget: random, fraction: null, count: 10}, {forget: class, classes: [1]}]"
    )
    words = [*TINY, "method=finetune", "forget=stream", f"forget.requests={requests}", f"outputs={tmp_path}"]
    done = execute(prepare(words))
    rows = pandas.read_csv(done.folder / "metrics.csv")
    assert sorted(rows["request"].unique()) == [1, 2, 3]
    with_references = rows[rows["role"] == "retrained"]["request"].unique()
    assert sorted(with_references) == [1, 3]
    assert {"original", "unlearned"} <= set(rows[rows["request"] == 2]["role"])
    facts = [json.loads(file.read_text()) for file in (tmp_path / "cache" / "stages").glob("*/facts.json")]
    assert [one["kind"] for one in facts].count("unlearn") == 3
    assert [one["kind"] for one in facts].count("train") == 3
    result = json.loads((done.folder / "result.json").read_text())
    assert result["requests"] == 3 and {"unlearned_request_1", "unlearned_request_2"} <= set(result["seconds"])
    assert (done.folder / "requests" / "1" / "scores" / "unlearned_forget.npz").exists()


def test_the_first_request_of_a_stream_is_the_run_of_that_forget_set(tmp_path):
    """The same stages: unlearning one class alone, after a stream that begins with it, trains nothing."""
    stream = execute(prepare([*TINY, "method=finetune", "forget=stream", f"outputs={tmp_path}"]))
    alone = execute(prepare([*TINY, "method=finetune", "forget=class", f"outputs={tmp_path}"]))
    reused = json.loads((alone.folder / "result.json").read_text())["reused"]
    assert all(reused.values())
    first = pandas.read_csv(stream.folder / "metrics.csv").query("request == 1")["value"].to_numpy()
    assert np.array_equal(first, pandas.read_csv(alone.folder / "metrics.csv")["value"].to_numpy())


@pytest.mark.parametrize(
    ("requests", "says"),
    [
        ("[]", "has 0 requests"),
        ("[{forget: class}]", "has 1 requests"),
        ("[{forget: clas}, {forget: class}]", "Did you mean 'class'"),
        ("[{classes: [0]}, {forget: class}]", "forget=None"),
        ("[{forget: class, clases: [0]}, {forget: class}]", "Did you mean 'classes'"),
        (
            "[{forget: class, classes: [1]}, {forget: class}, {forget: class, classes: [1]}]",
            r"forget.requests\[2\]: class:\S+ is already taken by forget.requests\[0\]",
        ),
    ],
)
def test_mistakes_are_explained(requests, says):
    from unlearnbench.assemble import assemble

    with pytest.raises(UserError, match=says):
        assemble(prepare([*TINY, "forget=stream", f"forget.requests={requests}"]))
