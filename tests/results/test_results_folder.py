"""What result.json says of a run: which runs repeat it, and with which other runs it may be averaged."""

from __future__ import annotations

from math import isnan, nan

import pytest

from unlearnbench.assemble import assemble
from unlearnbench.metrics.measure import Row
from unlearnbench.results.identity import Identity, settings
from unlearnbench.results.rows import COLUMNS, read_metrics, write_metrics
from unlearnbench.runs.launch import prepare
from worlds import TINY

BASE = (*TINY, "method=finetune")


def settings_of(*words):
    return settings(assemble(prepare([*BASE, *words])))


@pytest.mark.parametrize("word", ["seed=3", "reference.count=4", "outputs=elsewhere", "forget.classes=[class0]"])
def test_repetitions_have_equal_settings(word):
    assert settings_of(word) == settings_of()


@pytest.mark.parametrize(
    "word",
    ["train.epochs=3", "dataset.noise=9", "forget.classes=[1]", "precision=bf16", "eval.limit=50", "model=vgg16"],
)
def test_what_decides_original_or_reference_is_another_setting(word):
    base = settings_of("precision=fp32", "dataset.size=32")
    other = settings_of("precision=fp32", "dataset.size=32", word)
    assert other["setting"] != base["setting"]
    assert other["method_setting"] == base["method_setting"]


def test_a_method_has_a_setting_of_its_own():
    other = settings_of("method.epochs=3")
    assert other["setting"] == settings_of()["setting"]
    assert other["method_setting"] != settings_of()["method_setting"]


def test_metrics_are_read_back_as_written(tmp_path):
    names = Identity("00e1", "", "d", "random:0.1", "m", "none", 3)
    write_metrics(
        tmp_path, names, [(1, Row("original", "test", "zrf", 0.25)), (2, Row("original", "test", "tofu", nan))]
    )
    table = read_metrics(tmp_path)
    first = {**vars(names), "request": 1, "role": "original", "split": "test", "metric": "zrf", "value": 0.25}
    assert table.loc[0].to_dict() == first
    assert isnan(table.loc[1, "value"])


@pytest.mark.parametrize(
    "text", ["", "\n", "a,b\n1,2\n", ",".join(COLUMNS) + "\n", "\x00\x01", ",".join(COLUMNS) + "\nx\n"]
)
def test_damaged_metrics_are_a_value_error(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError):
        read_metrics(tmp_path)
