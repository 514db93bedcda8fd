"""Facts of the methods that change weights directly: dampening, Fisher noise and the influence step."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from unlearnbench.contracts import Predictions
from unlearnbench.methods import influence
from unlearnbench.methods.assd import Assd, percentile_for
from unlearnbench.methods.fisher import Fisher
from unlearnbench.methods.influence import Influence, recursion, woodbury
from unlearnbench.methods.lfssd import Lfssd
from unlearnbench.methods.ssd import Ssd
from unlearnbench.request.config import build
from unlearnbench.techniques.dampening import percentile_of_ratios
from unlearnbench.techniques.drawn import drawn
from unlearnbench.techniques.gradients import example_importance, mean_gradient
from unlearnbench.training.losses import cross_entropy
from worlds import same_weights

SSD = Ssd(importance="batch", batch_size=32, alpha=10.0, dampening=1.0)


@pytest.mark.parametrize("importance", ["batch", "example"])
def test_an_infinite_alpha_dampens_nothing(importance, tiny_problem, original):
    method = dataclasses.replace(SSD, importance=importance, alpha=1e30)
    before = copy.deepcopy(original)
    problem = tiny_problem()
    assert same_weights(method(original, problem), before)
    assert problem.record.tables["dampened"] == [{"alpha": 1e30, "share_of_weights": 0.0}]


def naive_importance(model, problem, index, size, value, of):
    """Return the mean over batches of `of` of a value's gradient, one batch after the other, in float64."""
    exact, found = copy.deepcopy(model).double().eval(), []
    for batch in problem.plain(index, size):
        slopes = torch.autograd.grad(value(exact(batch.inputs.double()), batch.labels), list(exact.parameters()))
        found.append([of(slope) for slope in slopes])
    return [torch.stack(parts).mean(dim=0) for parts in zip(*found, strict=True)]


def squared_norm(logits, _labels):
    return logits.norm(dim=1).pow(2).mean()


@pytest.mark.parametrize("importance", ["batch", "example"])
@pytest.mark.parametrize(
    ("kind", "value", "of"),
    [(Ssd, torch.nn.functional.cross_entropy, torch.square), (Lfssd, squared_norm, torch.abs)],
    ids=["ssd", "lfssd"],
)
def test_dampening_scales_as_its_equation_says(kind, value, of, importance, tiny_problem, original):
    alpha, dampening = 1.5 if kind is Lfssd else 2.0, 0.7
    problem, before = tiny_problem(), copy.deepcopy(original)
    size = 32 if importance == "batch" else 1
    rows = np.concatenate([problem.retain, problem.forget])
    whole, part = (naive_importance(before, problem, index, size, value, of) for index in (rows, problem.forget))
    after = kind(importance=importance, batch_size=32, alpha=alpha, dampening=dampening)(original, problem)
    assert not same_weights(after, before)
    for old, new, everything, forget in zip(before.parameters(), after.parameters(), whole, part, strict=True):
        factor = torch.where(forget > alpha * everything, (dampening * everything / forget).clamp(max=1), 1.0)
        near = ((forget / (alpha * everything) - 1).abs() < 1e-4) | (everything < 1e-20)  # either side of the threshold
        torch.testing.assert_close(new.double()[~near], (old * factor)[~near], rtol=1e-3, atol=1e-6)


def test_importance_by_example_does_not_depend_on_the_batches(tiny_problem, original):
    problem = tiny_problem()
    found = [
        dataclasses.replace(SSD, importance="example", batch_size=size, alpha=2.0)(copy.deepcopy(original), problem)
        for size in (7, 64)
    ]
    for one, other in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("importance", ["batch", "example"])
def test_lfssd_uses_no_labels(importance, tiny_problem, tiny, original):
    method = Lfssd(importance=importance, batch_size=32, alpha=1.5, dampening=1.0)
    before, first = copy.deepcopy(original), method(copy.deepcopy(original), tiny_problem())

    class Shuffled:
        """The task with labels that belong to other images."""

        def __getattr__(self, name):
            return getattr(tiny.task, name)

        def batch(self, *asked):
            batch = tiny.task.batch(*asked)
            return dataclasses.replace(batch, labels=batch.labels.roll(1))

    assert same_weights(first, method(original, tiny_problem(task=Shuffled())))
    assert not same_weights(first, before)


def test_assd_takes_alpha_from_the_size_of_the_forget_set():
    assert percentile_for(1, 100) == pytest.approx(100 - math.log(2))
    assert percentile_for(10, 100) == pytest.approx(97.602105)
    everything = {"a": torch.full((4,), 2.0), "b": torch.tensor([[0.0, 1.0]])}
    forget = {"a": torch.tensor([2.0, 4.0, 6.0, 8.0]), "b": torch.tensor([[0.0, 5.0]])}  # 1 2 3 4, 0 / 0, 5
    for percentile in (0.0, 40.0, 90.0, 97.6, 100.0):
        expected = np.percentile([1, 2, 3, 4, 5], percentile)
        assert percentile_of_ratios(everything, forget, percentile) == pytest.approx(expected)
    assert percentile_of_ratios({"a": torch.zeros(2)}, {"a": torch.zeros(2)}, 99.0) == math.inf


def test_assd_dampens_the_share_that_it_promises(tiny_problem, original):
    problem = tiny_problem()
    Assd(importance="batch", batch_size=32, dampening=1.0)(original, problem)
    share = problem.record.tables["dampened"][0]["share_of_weights"]
    percent = 100 - percentile_for(len(problem.forget), len(problem.forget) + len(problem.retain))
    assert 100 * share == pytest.approx(percent, abs=0.1)


def test_fisher_noise_has_the_papers_variance(tiny_problem, original, monkeypatch):
    monkeypatch.setattr("unlearnbench.methods.fisher.drawn", lambda predictions, batch: batch)
    problem = tiny_problem()
    method = Fisher(batch_size=64, alpha=1e-2, variance="inverse_root", limit=50.0)

    def loss(batch):
        return cross_entropy(problem.predict(original, batch))

    fisher = example_importance(original, loss, problem.plain(problem.retain, 64))
    runs = [method(copy.deepcopy(original), dataclasses.replace(problem, seed=seed)) for seed in range(8)]
    ratios = []
    for name, value in original.named_parameters():
        moved = torch.stack([one.get_parameter(name) - value for one in runs]).detach()
        ratios.append((moved.square().mean(dim=0) / (1e-2 * fisher[name].pow(-0.5).clamp(max=50.0))).flatten())
    assert float(torch.cat(ratios).mean()) == pytest.approx(1.0, abs=0.05)  # 8 draws of 5,000 weights


def test_fisher_knows_the_variance_of_the_authors_code(original):
    method = Fisher(batch_size=64, alpha=1e-3, variance="inverse", limit=1000.0)
    fisher = {name: torch.rand_like(one) * 0.01 for name, one in original.named_parameters()}
    head = set(original.linear.parameters())
    found = method.variances(original, fisher, head)
    unit = (1 / (fisher["conv2.weight"] + 1e-8)).clamp(max=1000).mean(dim=1, keepdim=True)
    torch.testing.assert_close(found["conv2.weight"], 1e-3 * unit.expand_as(found["conv2.weight"]))
    torch.testing.assert_close(found["bn1.weight"], 1e-2 * (1 / (fisher["bn1.weight"] + 1e-8)).clamp(max=1000))
    torch.testing.assert_close(found["linear.bias"], 1e-2 * (1 / (fisher["linear.bias"] + 1e-8)).clamp(max=100))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_drawn_labels_follow_the_predictions(kind, tiny, tiny_text):
    task, index = (tiny if kind == "image" else tiny_text).task, (tiny if kind == "image" else tiny_text).data.train[:4]
    batch = task.batch(index, None)
    predictions = task.predict((tiny if kind == "image" else tiny_text).original, batch)
    logits = torch.full_like(predictions.logits, -1e4)
    logits[:, 2], logits[:, 3] = math.log(0.8), math.log(0.2)
    sure = Predictions(logits, predictions.labels, predictions.example, predictions.examples)
    torch.manual_seed(0)
    found = torch.cat([drawn(sure, batch).labels[batch.labels != -100] for _ in range(100)])
    assert set(found.tolist()) == {2, 3}
    assert float((found == 2).double().mean()) == pytest.approx(0.8, abs=0.09)


@pytest.mark.parametrize("held", [2**28, 5 * 9])
def test_woodbury_is_the_dense_inverse(held, monkeypatch):
    monkeypatch.setattr(influence, "HELD", held)
    torch.manual_seed(0)
    slopes, vector = torch.randn(23, 9, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    hessian = 0.3 * torch.eye(9, dtype=torch.float64) + slopes.T @ slopes / 23
    found = woodbury(lambda index: iter(slopes[index].split(2)), np.arange(23), vector, 0.3)
    torch.testing.assert_close(found, torch.linalg.solve(hessian, vector))


def test_woodbury_lands_on_the_minimum_of_a_quadratic_loss():
    torch.manual_seed(0)
    slopes, best = torch.randn(8, 12, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    hessian = 0.1 * torch.eye(12, dtype=torch.float64) + slopes.T @ slopes / 8
    start = torch.randn(12, dtype=torch.float64)
    step = woodbury(lambda index: iter([slopes[index]]), np.arange(8), -hessian @ (start - best), 0.1)
    torch.testing.assert_close(start + step, best)


def test_the_recursion_is_the_published_one():
    torch.manual_seed(0)
    slopes, vector = torch.randn(23, 9, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    o, k = slopes[0].clone(), vector.clone()
    for slope in slopes[1:]:
        along = o @ slope
        k = k - (k @ slope) / (23 + along) * o
        o = o - along / (23 + along) * o
    torch.testing.assert_close(recursion(lambda index: iter(slopes[index].split(4)), np.arange(23), vector), k)


def test_influence_takes_the_newton_step_of_its_equation(tiny_problem, original):
    problem = tiny_problem()
    method = Influence(batch_size=64, examples=100, inverse="woodbury", damping=1.0, strength=1.0)
    before = copy.deepcopy(original)

    def loss(batch):
        return cross_entropy(problem.predict(before, batch))

    goes, stays = (mean_gradient(before, loss, problem.plain(index, 64)) for index in (problem.forget, problem.retain))
    share = len(problem.forget) / (len(problem.forget) + len(problem.retain))
    after = method(original, problem)
    slopes = []
    for batch in problem.plain(problem.sample(problem.retain, 100 / len(problem.retain)), 1):
        slopes.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss(batch).sum(), before.parameters())]))
    rows = torch.stack(slopes).double()
    vector = torch.cat([share * (goes[name] - stays[name]).flatten() for name in goes]).double()
    moved = [(new - old).flatten() for old, new in zip(before.parameters(), after.parameters(), strict=True)]
    found = torch.cat(moved).detach().double()
    curved = found + rows.T @ (rows @ found) / len(rows)  # (I + mean of g g^T) times the step
    torch.testing.assert_close(curved, vector, rtol=1e-2, atol=1e-3 * float(vector.abs().max()))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("ssd", {"alpha": 0.0}), ("ssd", {"importance": "row"}), ("lfssd", {"dampening": -1.0}),
        ("assd", {"batch_size": 0}), ("fisher", {"variance": "root"}), ("fisher", {"limit": 0.0}),
        ("influence", {"inverse": "recursion", "damping": 0.1}), ("influence", {"examples": 0}),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(name, wrong):
    from omegaconf import OmegaConf

    from unlearnbench.errors import UserError
    from unlearnbench.request.config import config_root

    values = dict(OmegaConf.to_container(OmegaConf.load(config_root() / "method" / f"{name}.yaml")))
    with pytest.raises(UserError, match=next(iter(wrong)) if len(wrong) == 1 else "damping"):
        build({**values, **wrong}, "method")


@pytest.mark.parametrize("importance", ["batch", "example"])
def test_no_weight_matters_more_to_forget_than_its_share_allows(importance, tiny_problem, original):
    problem, before = tiny_problem(), copy.deepcopy(original)
    bound = (len(problem.retain) + len(problem.forget)) / len(problem.forget)
    sizes = 1 if importance == "batch" else 64  # batches of equal size: their numbers are in the same proportion
    method = dataclasses.replace(SSD, importance=importance, batch_size=sizes, alpha=1.001 * bound)
    assert same_weights(method(original, problem), before)
