"""Comeback: every state of a stream is asked about every earlier request, and nothing is computed twice."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest

from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.experiment import build
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages.benches import Benches
from worlds import TINY

REQUESTS = "[{forget: class, classes: [0]}, {forget: random, fraction: null, count: 20}, {forget: class, classes: [1]}]"
STREAM = (*TINY, "method=finetune", "forget=stream", f"forget.requests={REQUESTS}")


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    """The run of a stream, and its rows."""
    folder = tmp_path_factory.mktemp("stream")
    done = execute(prepare([*STREAM, "eval=[standard,comeback]", f"outputs={folder}"]))
    return folder, done.folder, pandas.read_csv(done.folder / "metrics.csv")


@pytest.mark.slow
def test_each_state_is_asked_about_all_requests_so_far(stream):
    _, _, rows = stream
    asked = rows[(rows["role"] == "unlearned") & (rows["metric"] == "accuracy")]
    found = asked[asked["split"].str.match(r"forget_\d")].groupby("request")["split"].apply(list).to_dict()
    assert found == {1: ["forget_1"], 2: ["forget_1", "forget_2"], 3: ["forget_1", "forget_2", "forget_3"]}
    now = rows[(rows["role"] == "unlearned") & (rows["metric"] == "accuracy") & (rows["split"] == "forget")]
    for request, value in zip(now["request"], now["value"], strict=True):
        same = asked[(asked["request"] == request) & (asked["split"] == f"forget_{request}")]["value"].item()
        assert same == value
    assert not rows.duplicated(["request", "role", "split", "metric"]).any()


def test_a_come_back_is_what_a_later_state_knows_more(stream):
    _, folder, rows = stream
    value = rows.set_index(["request", "role", "split", "metric"])["value"]
    for number in (1, 2):
        split = f"forget_{number}"
        back = value[3, "unlearned", split, "accuracy"] - value[number, "unlearned", split, "accuracy"]
        assert value[3, "unlearned", split, "comeback"] == pytest.approx(back)
    every = rows[rows["metric"] == "comeback"]["value"]
    assert value[3, "unlearned", "forget", "comeback_largest"] == pytest.approx(every.max())
    assert value[3, "unlearned", "retain", "requests_above_floor"] in (0, 1, 2, 3)
    assert {"unlearned_at_once", "retrained"} <= set(
        rows[(rows["request"] == 3) & (rows["split"] == "forget_2")]["role"]
    )
    kept = np.load(folder / "scores" / "unlearned_retain.npz")
    right = (kept["logits"].argmax(1) == kept["label"]).mean()
    assert value[3, "unlearned", "retain", "accuracy"] == pytest.approx(right)


def test_states_are_scored_on_their_own_rows_once_and_only_the_control_is_unlearned(stream):
    folder, _, _ = stream
    kinds = [json.loads(file.read_text())["kind"] for file in (folder / "cache" / "stages").glob("*/facts.json")]
    assert kinds.count("train") == 3 and kinds.count("unlearn") == 4  # one for each request, and all at once


def test_a_run_of_one_request_is_refused_before_anything_trains():
    experiment = assemble(prepare([*TINY, "method=none", "eval=[standard,comeback]"])).experiment
    with pytest.raises(UserError, match="Try: forget=stream"):
        build(experiment, Benches().of(experiment))


@pytest.mark.plots
@pytest.mark.slow
def test_it_needs_no_retrained_model_and_draws_its_figure(tmp_path):
    words = ["eval=[standard,comeback]", "reference.count=0", "eval.limit=20", f"outputs={tmp_path}", "plots=true"]
    done = execute(prepare([*STREAM, "eval.comeback.at_once=false", *words]))
    assert (done.folder / "plots" / "comeback.png").stat().st_size > 5000
    roles = set(pandas.read_csv(done.folder / "metrics.csv").query("split == 'forget_1'")["role"])
    assert roles == {"original", "unlearned"}
