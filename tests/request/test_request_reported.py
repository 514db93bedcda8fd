"""Reported numbers of a run: what is refused, which of them a run carries, and that no result depends on them."""

from __future__ import annotations

import json

import pytest
import yaml

from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.request.reported import Reported, carried
from unlearnbench.runs.finished import find
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY

GOOD = {"role": "unlearned", "split": "test", "metric": "accuracy", "value": 0.644, "source": "Table IV"}


@pytest.fixture
def preset(tmp_path):
    """Write experiment/published.yaml with reported entries, and return the request that asks for it."""

    def request(*entries, words=("method=none",)):
        configs = tmp_path / "configs"
        (configs / "experiment").mkdir(parents=True, exist_ok=True)
        text = "# @package _global_\n" + yaml.safe_dump({"reported": list(entries)})
        (configs / "experiment" / "published.yaml").write_text(text)
        return prepare(["experiment=published", f"outputs={tmp_path / 'outputs'}", *TINY, *words], [configs])

    return request


def stored(folder):
    return json.loads((folder / "result.json").read_text())["reported"]


def test_entries_are_typed(preset):
    (entry,) = assemble(preset({**GOOD, "value": 3, "method": "none"})).settings.reported
    assert entry == Reported(**{**GOOD, "value": 3.0, "method": "none"})


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({**GOOD, "role": "unlearnt"}, r"reported\[0\].role=.*Did you mean 'unlearned'"),
        ({**GOOD, "split": "tset"}, r"reported\[0\].split=tset: accuracy is not measured there. Did you mean 'test'"),
        (
            {**GOOD, "metric": "zrf"},
            r"reported\[0\].split=test: zrf is not measured there. Did you mean 'test_forget'\?\nIts splits",
        ),
        ({**GOOD, "metric": "acuracy"}, r"reported\[0\].metric=acuracy: unknown metric. Did you mean 'accuracy'"),
        ({**GOOD, "value": "64 %"}, r'reported\[0\].value="64 %"'),
        ({**GOOD, "value": float("nan")}, r"reported\[0\].value=NaN: expected a finite number"),
        ({**GOOD, "value": float("-inf")}, r"reported\[0\].value=-Infinity: expected a finite number"),
        ({**GOOD, "source": " "}, r"reported\[0\]: source is empty"),
        ({**GOOD, "modle": "vgg16"}, r"reported\[0\].modle: unknown setting .* Did you mean 'model'"),
        ({name: GOOD[name] for name in GOOD if name != "value"}, r"reported\[0\].value is missing.\nTry: value: VALUE"),
        (5, r"reported\[0\]=5"),
    ],
)
def test_a_bad_entry_ends_before_anything_runs(preset, tmp_path, entry, says):
    with pytest.raises(UserError, match=says):
        execute(preset(entry))
    assert not (tmp_path / "outputs").exists()


def test_a_list_that_is_none_is_refused(preset, tmp_path):
    with pytest.raises(UserError, match="reported="):
        execute(preset(words=("method=none", "reported=5")))


def test_a_run_carries_what_speaks_of_its_model_method_and_forget_set(preset):
    entries = [
        GOOD,
        {**GOOD, "model": "tiny_cnn", "method": "none"},
        {**GOOD, "model": None, "method": "finetune"},
        {**GOOD, "model": "vgg16"},
        {**GOOD, "role": "original", "method": "finetune"},
        {**GOOD, "role": "retrained", "model": "vgg16"},
        {**GOOD, "role": "retrained", "forget": "class"},
        {**GOOD, "role": "retrained", "forget": "random"},
    ]
    assert carried(preset(*entries)) == [entries[0], entries[1], entries[4], entries[6]]


def test_a_corrected_number_repeats_no_run_and_reaches_the_finished_one(preset):
    first = execute(preset(GOOD))
    metrics = (first.folder / "metrics.csv").stat().st_mtime_ns
    assert stored(first.folder) == [GOOD]
    assert find(preset(GOOD)) == first.folder
    corrected = {**GOOD, "value": 0.5}
    assert find(preset(corrected)) is None  # not by the index, but by its name:
    again = execute(preset(corrected))
    assert (again.folder, again.reused) == (first.folder, True)
    assert stored(again.folder) == [corrected]
    assert (again.folder / "metrics.csv").stat().st_mtime_ns == metrics
    assert find(preset(corrected)) == first.folder
    assert execute(preset(GOOD)).reused and stored(first.folder) == [GOOD]  # and back again
    assert execute(preset()).reused and stored(first.folder) == []


def test_a_run_of_before_is_found_while_nothing_is_reported(preset):
    folder = execute(preset()).folder
    result = json.loads((folder / "result.json").read_text())
    del result["reported"]
    (folder / "result.json").write_text(json.dumps(result))
    sums.write(folder)
    assert find(preset()) == folder
