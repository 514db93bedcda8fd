"""Every method on every tiny world: it runs, or skips with a reason."""

from __future__ import annotations

import copy

import pytest
import torch
from omegaconf import OmegaConf

from unlearnbench.config import build, config_root
from worlds import same_weights

METHODS = sorted(file.stem for file in (config_root() / "method").glob("*.yaml"))


def method(name: str) -> object:
    """Build a method as its YAML describes it, with one epoch where it has epochs."""
    values = dict(OmegaConf.to_container(OmegaConf.load(config_root() / "method" / f"{name}.yaml")))
    return build({**values, **({"epochs": 1} if "epochs" in values else {})}, "method")


@pytest.mark.parametrize("name", METHODS)
def test_method_runs_or_says_why_not(name, tiny_problem, original):
    chosen = method(name)
    problem = tiny_problem()
    assert problem.info.kind in chosen.kinds, f"{name} is not for images: add its kind to the matrix"
    reason = chosen.check(problem) if hasattr(chosen, "check") else None
    assert reason is None
    scores = problem.task.score(chosen(original, problem), problem.validation)
    assert scores.logits.shape == (len(problem.validation), 4)
    assert torch.isfinite(torch.from_numpy(scores.logits)).all()


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_gives_same_weights(name, tiny_problem, original):
    first = method(name)(copy.deepcopy(original), tiny_problem())
    torch.rand(7)  # whatever happened before must not matter
    torch.manual_seed(3)
    second = method(name)(copy.deepcopy(original), tiny_problem())
    assert same_weights(first, second)


@pytest.mark.parametrize("name", METHODS)
def test_reference_is_untouched(name, tiny_problem, original, tiny):
    problem = tiny_problem()
    method(name)(original, problem)
    assert same_weights(problem.reference, tiny.original)
