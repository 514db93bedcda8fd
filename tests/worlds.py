"""Small worlds that tests share: settings, a generated data set, and what it means that two models are the same."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from unlearnbench.data.images import Augment
from unlearnbench.data.synthetic import Synthetic
from unlearnbench.precision import Precision
from unlearnbench.training import Optimizer, Recipe

CPU = Precision("cpu", bf16=False)
TINY = ("dataset=synthetic", "model=tiny_cnn", "train.epochs=2")
"""A run of a second, on generated images."""
HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
"""The environment of a command that must import this checkout."""
RECIPE = Recipe(
    epochs=8,
    batch_size=32,
    label_smoothing=0.0,
    optimizer=Optimizer(name="sgd", lr=0.1, momentum=0.9, nesterov=True, schedule="one_cycle"),
)
SGD = Optimizer(name="sgd", lr=0.01, momentum=0.9)


def synthetic(**changes: object) -> Synthetic:
    values: dict[str, object] = {
        "classes": 4, "train": 240, "test": 80, "side": 8, "channels": 1, "noise": 40.0, "limit": None,
        "limit_test": None, "validation": 0.1, "labels": "fine", "size": None, "mean": (0.5,), "std": (0.25,),
        "augment": Augment(crop=0, flip=False), "seed": 0,
    }  # fmt: skip
    return Synthetic(**{**values, **changes})


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Say whether two models hold equal parameters and buffers."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
