"""Models in memory: few at a time, however many a graph has, and each built once where it can be."""

from __future__ import annotations

import weakref

import pytest
from torch import nn

from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.request.compose import compose
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.runs.sweep import Sweep
from unlearnbench.runs.sweeping import launch
from worlds import TINY

pytestmark = pytest.mark.slow


SMALL = ",".join(f"{{forget: random, fraction: 0.03, seed: {number}}}" for number in range(12))


@pytest.mark.parametrize(
    "words",
    [
        ["method=none", "eval=[standard,ulira]", "eval.ulira.models=60", "reference.count=2"],
        ["method=finetune", "reference.count=12"],
        ["method=finetune", "forget=stream", f"forget.requests=[{SMALL}]"],
    ],
    ids=["shadows", "references", "stream"],
)
def test_many_models_never_stand_in_memory_together(tmp_path, monkeypatch, words):
    alive, counts = weakref.WeakSet(), []
    build, setstate = TinyCNN.build, nn.Module.__setstate__

    def counted(model):
        alive.add(model)
        counts.append(sum(type(one).__name__ == "_Cnn" for one in alive))

    def copied(self, state):
        counted(self)
        setstate(self, state)

    def built(self, info):
        counted(model := build(self, info))
        return model

    monkeypatch.setattr(nn.Module, "__setstate__", copied)
    monkeypatch.setattr(TinyCNN, "build", built)
    assert execute(prepare([*TINY, "train.epochs=1", *words, f"outputs={tmp_path}"])).status == "done"
    assert len(counts) > 12  # the original, what was just trained, and copies of a method:
    assert max(counts) <= 6


TWENTY = (
    "finetune", "distill", "npo", "grad_diff", "gradient_ascent", "task_vector", "retrain", "masking", "scrub", "ssd",
    "assd", "lfssd", "neggrad_plus", "random_label", "l1_sparse", "delete", "undial", "cf_k", "simnpo", "wga",
)  # fmt: skip


def test_a_sweep_loads_its_original_once(tmp_path, monkeypatch):
    """Twenty methods over an original that is in the cache."""
    base = [*TINY, f"outputs={tmp_path}", f"hydra.sweep.dir={tmp_path}/sweep", "save_model=false"]
    assert execute(prepare([*base, "method=none"])).status == "done"
    built = []
    model = Workshop.model

    def counting(self, one):
        if one.key not in self._models:
            built.append(one.role)
        return model(self, one)

    monkeypatch.setattr(Workshop, "model", counting)
    words = [*base, f"method={','.join(TWENTY)}"]
    first = compose([*base, "method=finetune"], sweep=True)
    _, code = launch(Sweep(words, (), ()), first)
    assert code == 0 and built.count("original") == 1
