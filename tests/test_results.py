"""What result.json says of a run: which runs repeat it, and with which other runs it may be averaged."""

from __future__ import annotations

import pytest

from unlearnbench.assemble import assemble
from unlearnbench.launch import prepare
from unlearnbench.results import settings
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
