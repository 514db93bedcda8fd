"""Small real pieces that tests share: a learnable data set, a trained original, a problem, a command line."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from unlearnbench.forget import ByClass
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.problem import Problem
from unlearnbench.progress import Quiet
from unlearnbench.randomness import seeded
from unlearnbench.tasks.image import ImageTask
from unlearnbench.training import Record, fit
from worlds import CPU, RECIPE, synthetic


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """A data set with four classes, its task, its splits, and an original trained on all of it."""
    dataset, spec = synthetic(), TinyCNN(checkpoint=None)
    data = dataset.load()
    task = ImageTask(data, dataset, CPU, spec.parts().head, 64)
    splits = ByClass(classes=(0,), seed=0).split(data)
    with seeded("tiny"):
        model = fit(
            task.prepare(spec.build(data.info)), task, data.train, data.validation, RECIPE,
            seed=0, record=Record(), progress=Quiet(),
        )  # fmt: skip
    return SimpleNamespace(dataset=dataset, data=data, task=task, splits=splits, spec=spec, original=model)


@pytest.fixture
def tiny_problem(tiny: SimpleNamespace) -> Callable[..., Problem]:
    """Make problems over the tiny data set: each call a fresh one, fields can be replaced."""

    def make(**changes: object) -> Problem:
        values = {
            "task": tiny.task, "info": tiny.data.info, "retain": tiny.splits.retain, "forget": tiny.splits.forget,
            "validation": tiny.splits.validation, "spec": tiny.spec, "recipe": RECIPE, "seed": 1,
            "reference": copy.deepcopy(tiny.original).requires_grad_(False),
            "record": Record(), "progress": Quiet(),
        }  # fmt: skip
        return Problem(**{**values, **changes})

    return make


@pytest.fixture
def original(tiny: SimpleNamespace) -> torch.nn.Module:
    """A copy of the trained original that a test may change."""
    return copy.deepcopy(tiny.original)


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line from an empty folder, as a user does."""

    def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "unlearnbench", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "120", **(env or {})},
        )  # fmt: skip

    return run
