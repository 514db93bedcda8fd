"""A process's few models: built once, and without a trace in anybody's random numbers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unlearnbench.graph.cache import Cache
from unlearnbench.graph.workshop import Workshop


@pytest.mark.parametrize("ask", ["model", "take"])
def test_whether_a_model_is_in_memory_changes_nobodys_random_numbers(tmp_path, ask):
    drawn = []
    for in_memory in (True, False):
        model, workshop = SimpleNamespace(key="key", build=lambda workshop: nn.Linear(3, 2)), Workshop(Cache(tmp_path))
        if in_memory:
            workshop.model(model)
        torch.manual_seed(0)
        built = getattr(workshop, ask)(model)
        drawn.append((built.weight.detach(), torch.rand(4)))
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
