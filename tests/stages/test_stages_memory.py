"""Models in memory: few at a time, however many a graph has, and each built once where it can be."""

from __future__ import annotations

import gc
import weakref

import pytest

from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.request.compose import compose
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.runs.sweep import Sweep, launch
from worlds import TINY

pytestmark = pytest.mark.slow


def test_sixty_four_models_never_stand_in_memory_together(tmp_path, monkeypatch):
    alive, most = weakref.WeakSet(), 0
    build, put = TinyCNN.build, Workshop.put

    def building(self, info):
        model = build(self, info)
        alive.add(model)
        return model

    def putting(self, key, model):
        nonlocal most
        gc.collect()
        most = max(most, len(alive))
        put(self, key, model)

    monkeypatch.setattr(TinyCNN, "build", building)
    monkeypatch.setattr(Workshop, "put", putting)
    words = [*TINY, "train.epochs=1", "method=none", "eval=[standard,ulira]", "eval.ulira.models=60"]
    assert execute(prepare([*words, "reference.count=2", f"outputs={tmp_path}"])).status == "done"
    assert most <= 6  # the original, what was just trained, and copies of a method


def test_a_sweep_loads_its_original_once(tmp_path, monkeypatch):
    """Nine methods over an original that is in the cache."""
    base = [*TINY, f"outputs={tmp_path}", f"hydra.sweep.dir={tmp_path}/sweep", "save_model=false"]
    assert execute(prepare([*base, "method=none"])).status == "done"
    built = []
    model = Workshop.model

    def counting(self, one):
        if one.key not in self._models:
            built.append(one.role)
        return model(self, one)

    monkeypatch.setattr(Workshop, "model", counting)
    words = [*base, "method=finetune,distill,npo,grad_diff,gradient_ascent,task_vector,retrain,masking"]
    first = compose([*base, "method=finetune"], sweep=True)
    _, code = launch(Sweep(words, (), ()), first)
    assert code == 0 and built.count("original") == 1
