"""Models without memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from unlearnbench.models.weightless import weightless

BUILT = """
import sys, torch
from torch import nn
from unlearnbench.models.weightless import weightless
with weightless():
    layer = nn.Conv2d(3, 8, 3)
    for name in ("normal_", "kaiming_normal_", "trunc_normal_", "xavier_normal_", "uniform_", "orthogonal_"):
        getattr(nn.init, name)(layer.weight)
assert layer.weight.is_meta and layer.weight.requires_grad
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.slow
def test_building_without_memory_does_not_import_torch_s_compiler():
    done = subprocess.run([sys.executable, "-c", BUILT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_a_model_without_memory_has_shapes_and_nothing_else():
    with weightless():
        model = nn.Sequential(nn.Linear(10**6, 10**6), nn.BatchNorm1d(10**6))
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert model[0].weight.shape == (10**6, 10**6)
    assert not torch.zeros(1).is_meta
    nn.init.normal_(outside := torch.zeros(100))
    assert outside.std() > 0.5
