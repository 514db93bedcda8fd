"""Batch norm in methods: student and reference in one mode, frozen statistics, and one setting for all that train."""

from __future__ import annotations

import copy
import dataclasses
import math
import sys

import pytest
import torch
from omegaconf import OmegaConf

from unlearnbench.methods.distill import Distill
from unlearnbench.methods.npo import Npo
from unlearnbench.models.modes import Mode, alike
from unlearnbench.models.resnet import ResNet18
from unlearnbench.problem import Problem
from unlearnbench.request.config import build, config_root
from unlearnbench.techniques.preferences import npo, summed_loss
from unlearnbench.training.losses import cross_entropy, kl_to_teacher, softened
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.stepper import Stepper
from worlds import SGD

CHOICES = ("train", "frozen")
SHORT = {"epochs": 1}
STILL = Optimizer(name="sgd", lr=1e-30)
DROPPING = ResNet18(stem="small", dropout=0.5, pretrained=False, checkpoint=None, base=None)
PARTIAL = {"cf_k", "cf_k_paper", "eu_k", "eu_k_paper", "rmu", "rmu_paper"}
"""Methods that leave some layers alone."""


def settings(name: str, **changes: object) -> object:
    values = dict(OmegaConf.to_container(OmegaConf.load(config_root() / "method" / f"{name}.yaml")))
    return build({**values, **changes}, "method")


NAMES = sorted(file.stem for file in (config_root() / "method").glob("*.yaml"))
TRAINING = [name for name in NAMES if "image" in settings(name).kinds and hasattr(settings(name), "optimizer")]


def accuracy(problem, model):
    scores = problem.task.score(model, problem.forget)
    return float((scores.prediction == scores.label).mean())


def buffers(model):
    return {name: value.clone() for name, value in model.named_buffers()}


def first_losses(monkeypatch, method, model, problem):
    """Run a method; return the loss of each of its steps."""
    losses, step = [], Stepper.step

    def watched(stepper, loss, *batches):
        step(stepper, loss, *batches)
        losses.append(float(stepper.losses[-1]))

    monkeypatch.setattr(Stepper, "step", watched)
    method(model, problem)
    return losses


@pytest.mark.parametrize("name", TRAINING)
def test_every_method_that_trains_images_has_the_setting_and_says_what_its_authors_do(name):
    method = settings(name)
    assert method.batch_norm in CHOICES
    assert "Batch norm: " in (sys.modules[type(method).__module__].__doc__ or "")


@pytest.mark.parametrize("batch_norm", CHOICES)
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_npo_begins_at_two_ln_two_by_beta(tiny_problem, original, monkeypatch, batch_norm, beta):
    problem = tiny_problem()
    method = Npo(
        epochs=1, batch_size=32, batch_norm=batch_norm, beta=beta, forget_weight=1.0, retain_weight=0.0, optimizer=STILL
    )
    losses = first_losses(monkeypatch, method, original, problem)
    assert losses and losses == pytest.approx([2 * math.log(2) / beta] * len(losses), rel=1e-5)


def test_npo_of_modes_that_differ_does_not_begin_there(tiny_problem, original):
    """What a student in training and a reference in evaluation gave: the comparison is of modes, not of weights."""
    problem = tiny_problem()
    batch = problem.task.batch(problem.forget, None)
    Mode().enter(original)
    with torch.no_grad():
        losses = [summed_loss(problem.predict(model, batch)) for model in (original, problem.reference)]
    assert float(npo(*losses, 1.0).mean()) != pytest.approx(2 * math.log(2), rel=0.01)


@pytest.mark.parametrize("batch_norm", CHOICES)
def test_a_student_with_dropout_equals_its_reference_at_the_first_step(tiny_problem, batch_norm):
    torch.manual_seed(0)
    model = DROPPING.build(tiny_problem().info)
    problem = tiny_problem(spec=DROPPING, reference=copy.deepcopy(model).eval().requires_grad_(False))
    batch = problem.task.batch(problem.forget[:16], None)
    Mode(batch_norm=batch_norm, dropout=False).enter(model)
    with alike(problem.reference, batch_norm), torch.no_grad():
        ours, theirs = problem.predict(model, batch).logits, problem.predict(problem.reference, batch).logits
        assert torch.equal(theirs, problem.predict(problem.reference, batch).logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_norm", CHOICES)
def test_distill_begins_at_its_competent_teacher(tiny_problem, monkeypatch, batch_norm):
    torch.manual_seed(0)
    model = DROPPING.build(tiny_problem().info)
    reference = copy.deepcopy(model).eval().requires_grad_(False)
    problem = tiny_problem(spec=DROPPING, reference=reference, forget=tiny_problem().retain[:0])
    method = Distill(epochs=1, batch_size=64, batch_norm=batch_norm, temperature=1.0, retain_share=0.3, optimizer=STILL)
    losses = first_losses(monkeypatch, method, model, problem)
    assert losses and losses == pytest.approx([0.0] * len(losses), abs=1e-6)


def test_kl_between_two_modes_of_one_model_is_not_zero(tiny_problem, original):
    problem = tiny_problem()
    batch = problem.task.batch(problem.retain[:32], None)
    with torch.no_grad():
        teacher = softened(problem.predict(problem.reference, batch).logits)
        Mode().enter(original)
        assert float(kl_to_teacher(problem.predict(original, batch), teacher).mean()) > 1e-3


def test_frozen_statistics_survive_passes_over_the_forget_set_that_move_them_otherwise(tiny_problem, original):
    """Forward passes alone, no update: with the batches' own statistics the accuracy on forget falls by itself."""
    before, after = accuracy(tiny_problem(), original), {}
    for batch_norm in CHOICES:
        problem, model = tiny_problem(), copy.deepcopy(original)
        statistics = buffers(model)
        method = settings("gradient_ascent", epochs=10, batch_size=32, batch_norm=batch_norm)
        dataclasses.replace(method, optimizer=STILL)(model, problem)
        after[batch_norm] = accuracy(problem, model)
        kept = all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
        assert kept == (batch_norm == "frozen")
    assert after["frozen"] == before
    assert after["train"] < before - 0.1


@pytest.mark.parametrize("name", sorted(set(TRAINING) - PARTIAL))
def test_frozen_statistics_are_bit_equal_after_a_method_and_its_weights_moved(name, tiny_problem, original):
    problem, statistics = tiny_problem(), buffers(original)
    weights = {key: value.detach().clone() for key, value in original.named_parameters()}
    method = settings(name, batch_norm="frozen", **SHORT if hasattr(settings(name), "epochs") else {})
    model = dataclasses.replace(method, optimizer=SGD)(original, problem)
    assert all(torch.equal(value, statistics[key]) for key, value in model.named_buffers())
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, weights[key])}
    assert {"bn1.weight", "bn2.weight"} <= moved


def test_a_score_in_the_midst_of_a_method_leaves_frozen_batch_norm_frozen(tiny_problem, original):
    problem, statistics = tiny_problem(), buffers(original)

    def loss(batch):
        problem.task.score(original, problem.validation)
        return cross_entropy(problem.predict(original, batch))

    plateau = Optimizer(name="sgd", lr=0.01, schedule="plateau")
    batches = problem.batches(problem.retain, size=64, epochs=2)
    model = problem.optimize(original, loss, batches, plateau, batch_norm="frozen")
    assert all(torch.equal(value, statistics[key]) for key, value in model.named_buffers())
    assert isinstance(problem, Problem) and len(problem.record.curve) == 2
