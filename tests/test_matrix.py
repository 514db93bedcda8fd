"""Every method on every tiny world (images, text, text through an adapter): it runs, or skips with a reason."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from omegaconf import OmegaConf

from unlearnbench.models.adapter import AdapterOff
from unlearnbench.models.start import trainable
from unlearnbench.request.config import build, config_root
from unlearnbench.training.optimizer import Optimizer
from worlds import LORA, llama, same_weights, text_world

METHODS = sorted({file.stem for file in (config_root() / "method").glob("*.yaml")} - {"external"})
"""All but the one that is somebody's weights: tests/methods/test_methods_external.py has them."""
OWN = [name for name in METHODS if not name.endswith("_paper")]
"""One choice of values for each method: those of its paper need no more than to run."""
WORLDS = ("image", "text", "adapter")
NEED_ALL = (
    "task_vector", "task_vector_paper", "eu_k", "eu_k_paper", "ssd", "ssd_paper", "lfssd", "assd", "assd_paper", "prmq",
    "prmq_paper", "kde", "kde_paper", "rni", "rni_paper", "fisher", "fisher_paper", "influence", "influence_paper",
    "negmerge",
)  # fmt: skip
SKIPS = {(name, "adapter"): "needs all weights" for name in NEED_ALL}
SKIPS |= {(name, "text"): "needs an adapter" for name in ("lora_negation", "lora_negation_paper")}
SKIPS |= {("sisa", "adapter"): "keeps all weights"}
SKIPS |= {("sisa_paper", world): "sisa" for world in WORLDS}
"""Its thousand slices need more rows than these worlds have: tests/methods/test_methods_shards.py runs it."""


def method(name: str) -> object:
    """Build a method as its YAML describes it, with one epoch where it has epochs."""
    values = dict(OmegaConf.to_container(OmegaConf.load(config_root() / "method" / f"{name}.yaml")))
    return build({**values, **({"epochs": 1} if "epochs" in values else {})}, "method")


@pytest.fixture(scope="module")
def tiny_text():
    """Return fewer notes than other tests have: these are hundreds of trainings."""
    return text_world(limit=32, limit_test=8, limit_validation=8)


@pytest.fixture
def world(request, tiny_problem, text_problem, tiny, tiny_text):
    """Return what makes (model, problem) of a world: as a run does, a copy of the original, or it behind an adapter."""

    def make(kind):
        if kind == "image":
            return copy.deepcopy(tiny.original), tiny_problem()
        model = copy.deepcopy(tiny_text.original)
        if kind == "text":
            return model, text_problem()
        torch.manual_seed(0)
        student = trainable(llama(LORA), model)
        return student, text_problem(spec=llama(LORA), reference=AdapterOff(student))

    return make


def runnable(name, kind, problem):
    """Return whether the method runs on the world; check that one which does not says why."""
    chosen = method(name)
    if problem.info.kind not in chosen.kinds:
        assert kind != "image" or chosen.kinds == {"text"}
        return False
    reason = chosen.check(problem) if hasattr(chosen, "check") else None
    expected = SKIPS.get((name, kind))
    assert (reason is None) == (expected is None), reason
    if expected:
        assert expected in reason
    return reason is None


@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize("name", METHODS)
def test_method_runs_or_says_why_not_and_leaves_the_reference_alone(name, kind, world):
    """And runs again to the same weights, whatever happened before."""
    original, problem = world(kind)
    if not runnable(name, kind, problem):
        return
    before = problem.task.score(problem.reference, problem.validation[:8]).logits
    first = method(name)(original, problem)
    scores = problem.task.score(first, problem.validation)
    assert len(scores) == len(problem.validation)
    assert torch.isfinite(torch.from_numpy(scores.logits.max(axis=1))).all()
    assert (problem.task.score(problem.reference, problem.validation[:8]).logits == before).all()
    if name in OWN:
        original, problem = world(kind)
        torch.rand(7)
        torch.manual_seed(3)
        assert same_weights(first, method(name)(original, problem))


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("name", [name for name in OWN if name != "icul"])
def test_one_row_can_be_forgotten(name, kind, world):
    model, problem = world(kind)
    problem = dataclasses.replace(problem, forget=problem.forget[:1])
    if runnable(name, kind, problem):
        method(name)(model, problem)


@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize("name", OWN)
def test_micro_batches_give_the_weights_of_whole_batches(name, kind, world):
    optimizers = [key for key, value in vars(method(name)).items() if isinstance(value, Optimizer)]
    if not optimizers:
        return
    found = []
    for micro in (None, 5):
        original, problem = world(kind)
        if not runnable(name, kind, problem):
            return
        changes = dict.fromkeys(optimizers, Optimizer(name="sgd", lr=0.01, momentum=0.9, micro_batch=micro))
        frozen = {"batch_norm": "frozen"} if hasattr(method(name), "batch_norm") else {}
        chosen = dataclasses.replace(method(name), **changes, **frozen)
        found.append(chosen(original, problem))
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
