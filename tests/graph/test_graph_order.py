"""The order of a run's stages: a model is read before the next one is made."""

from __future__ import annotations

from types import SimpleNamespace

from unlearnbench.graph.order import each_behind_its_models


def stage(key, *inputs):
    return SimpleNamespace(key=key, inputs=inputs)


def test_what_reads_a_model_follows_it_unless_it_waits_for_a_later_one():
    original, first, second = stage("o"), stage("r0"), stage("r1")
    unlearned = stage("u", original)
    scores = [stage(f"s{model.key}", model) for model in (second, original, unlearned, first)]
    compared, apart = stage("c", scores[1], scores[2]), stage("x")
    found = each_behind_its_models([original, first, second, unlearned], [compared, *scores, apart])
    assert [one.key for one in found] == ["o", "so", "r0", "sr0", "r1", "sr1", "u", "c", "su", "x"]
