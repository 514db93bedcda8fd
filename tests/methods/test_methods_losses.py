"""One step of each method with a loss of its own is the naive step, and the facts of their papers."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from naive import activations, assert_weights, ce, descended, learner, mean_ce, rows_of
from unlearnbench.contracts import Predictions
from unlearnbench.methods.ceu import Ceu, ceu
from unlearnbench.methods.gradient_ascent import GradientAscent
from unlearnbench.methods.kl_min import KlMin
from unlearnbench.methods.pdu import Pdu
from unlearnbench.methods.rmu import Rmu, at_depth, direction
from unlearnbench.methods.satimp import Satimp
from unlearnbench.methods.simnpo import Simnpo, simnpo
from unlearnbench.methods.undial import Undial
from unlearnbench.methods.wga import Wga
from unlearnbench.training.optimizer import Optimizer
from worlds import same_weights

PLAIN_SGD = Optimizer(name="sgd", lr=0.05)
BASE = {"epochs": 1, "batch_size": 16, "batch_norm": "frozen", "optimizer": PLAIN_SGD}
WEIGHTS = {"forget_weight": 0.5, "retain_weight": 2.0}
SIMNPO = Simnpo(**BASE, **WEIGHTS, beta=2.5, delta=0.1)
WGA = Wga(**BASE, **WEIGHTS, beta=1.0)
SATIMP = Satimp(**BASE, **WEIGHTS, beta1=2.0, beta2=0.5)
CEU = Ceu(**BASE, **WEIGHTS, skip_tokens=1)
UNDIAL = Undial(**BASE, **WEIGHTS, beta=3.0)
KL_MIN = KlMin(**BASE, **WEIGHTS)
PDU = Pdu(**BASE, bound=0.1, dual=2.0, dual_step=1.0, warmup=0)
RMU = Rmu(**BASE, depth=0.0, steering=2.0, retain_weight=2.0)


@pytest.fixture(params=["image", "text"])
def world(request, tiny_problem, text_problem):
    """Return what makes a problem with a few examples of images, then of text."""
    make = tiny_problem if request.param == "image" else text_problem

    def few(**changes):
        whole = make()
        return make(**{"forget": whole.forget[:8], "retain": whole.retain[:8], **changes})

    return few


def naive_simnpo(problem, model, _reference, method):
    values = [ce(*rows).mean() for rows in rows_of(problem, model, problem.forget)]
    terms = [-2 / method.beta * torch.log(torch.sigmoid(method.beta * (one - method.delta))) for one in values]
    return sum(terms) / len(terms)


def naive_wga(problem, model, _reference, method):
    values = torch.cat([ce(*rows) for rows in rows_of(problem, model, problem.forget)])
    return -(torch.exp(-values).detach() ** method.beta * values).mean()


def naive_satimp(problem, model, _reference, method):
    values = torch.cat([ce(*rows) for rows in rows_of(problem, model, problem.forget)])
    likely = torch.exp(-values).detach()
    return -(likely**method.beta1 * (1 - likely) ** method.beta2 * values).mean()


def naive_ceu(problem, model, _reference, method):
    total, count = 0.0, 0
    for logits, labels in rows_of(problem, model, problem.forget):
        for place, (row, label) in enumerate(zip(logits, labels, strict=True)):
            count += 1
            if place < min(method.skip_tokens, len(labels) - 1):
                continue
            rest = torch.arange(len(row)) != label
            target = torch.softmax(row[rest].detach(), dim=0)
            total = total - (target * torch.log_softmax(row, dim=0)[rest]).sum()
    return total / count


def naive_undial(problem, model, reference, method):
    pairs = zip(rows_of(problem, model, problem.forget), rows_of(problem, reference, problem.forget), strict=True)
    values = []
    for (logits, labels), (before, _) in pairs:
        lowered = before.detach().clone()
        lowered[torch.arange(len(labels)), labels] -= method.beta
        values.append(-(torch.softmax(lowered, dim=1) * torch.log_softmax(logits, dim=1)).sum(dim=1))
    return torch.cat(values).mean()


def naive_ascent(problem, model, _reference, _method):
    return -mean_ce(problem, model, problem.forget)


NAIVE = {
    "simnpo": (SIMNPO, naive_simnpo), "wga": (WGA, naive_wga), "satimp": (SATIMP, naive_satimp),
    "ceu": (CEU, naive_ceu), "undial": (UNDIAL, naive_undial),
}  # fmt: skip


@pytest.mark.parametrize("name", NAIVE)
def test_one_step_is_the_naive_step(name, world):
    method, naive = NAIVE[name]
    problem = world()
    reference = copy.deepcopy(problem.reference)

    def whole(model):
        return 0.5 * naive(problem, model, reference, method) + 2.0 * mean_ce(problem, model, problem.retain)

    assert_weights(method(learner(problem), problem), descended(learner(problem), whole))


def test_kl_min_begins_as_gradient_ascent_for_its_kl_has_no_gradient(world):
    problem = world()

    def whole(model):
        return -0.5 * mean_ce(problem, model, problem.forget)

    assert_weights(KL_MIN(learner(problem), problem), descended(learner(problem), whole))


def test_kl_min_holds_the_retain_predictions(world):
    """Ten steps up: with KL the retain rows' cross-entropy moves less than without."""
    problem = world()
    steps = dataclasses.replace(KL_MIN, epochs=10, optimizer=Optimizer(name="sgd", lr=0.01))
    loose, held = (
        mean_ce(problem, dataclasses.replace(steps, retain_weight=weight)(learner(problem), problem), problem.retain)
        for weight in (0.0, 5.0)
    )
    assert float(held.detach()) < float(loose.detach())


WEIGHTLESS = {
    "wga": dataclasses.replace(WGA, beta=0.0),
    "satimp": dataclasses.replace(SATIMP, beta1=0.0, beta2=0.0),
}


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_without_their_weights_wga_and_satimp_are_gradient_ascent(name, world):
    problem = world()
    method = dataclasses.replace(WEIGHTLESS[name], forget_weight=1.0, retain_weight=0.0, epochs=2)
    ascent = GradientAscent(**{**BASE, "epochs": 2})
    assert same_weights(method(learner(problem), problem), ascent(learner(problem), world()))


def test_satimp_with_one_weight_is_wga(world):
    problem = world()
    one = dataclasses.replace(SATIMP, beta1=1.0, beta2=0.0)
    assert_weights(one(learner(problem), problem), WGA(learner(problem), world()))


@pytest.mark.parametrize("method", [SIMNPO, WGA, SATIMP, CEU], ids=lambda one: type(one).__name__.lower())
def test_they_need_no_reference(method, world):
    problem, unknown = world(), world()
    expected = method(learner(problem), problem)
    model = learner(unknown)
    for parameter in unknown.reference.parameters():
        parameter.data.fill_(torch.nan)
    assert same_weights(method(model, unknown), expected)


def test_simnpo_weighs_an_example_by_its_own_likelihood_and_length():
    """Section 4: the slope in an example's loss is 2 p / (1 + p) / rows with p = exp(-beta (loss / rows - delta))."""
    losses = torch.tensor([0.1, 2.0, 2.0], dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([1, 1, 4])
    simnpo(losses, rows, 2.5, 0.2).sum().backward()
    likely = torch.exp(-2.5 * (losses.detach() / rows - 0.2))
    torch.testing.assert_close(losses.grad, -2 * likely / (1 + likely) / rows)


@pytest.mark.parametrize("method", [UNDIAL, CEU, PDU], ids=["undial", "ceu", "pdu"])
def test_prompt_tokens_do_not_count(method, text_problem, monkeypatch):
    """What the reference says of prompt tokens changes nothing: its logits there are replaced by noise."""
    whole = text_problem()
    problem = text_problem(forget=whole.forget[:8], retain=whole.retain[:8])
    expected = method(learner(problem), problem)
    problem = text_problem(forget=whole.forget[:8], retain=whole.retain[:8])
    seen = []
    predict = problem.task.predict

    def watched(model, batch, inputs=None):
        found = predict(model, batch, inputs)
        seen.append((len(found.labels), int((batch.labels[:, 1:] != -100).sum())))
        return found

    monkeypatch.setattr(problem.task, "predict", watched)
    assert same_weights(method(learner(problem), problem), expected)
    assert seen and all(rows == answers for rows, answers in seen)


def test_undial_with_no_penalty_stays_at_the_original(world):
    problem = world()
    method = dataclasses.replace(UNDIAL, beta=0.0, retain_weight=0.0)
    assert_weights(method(learner(problem), problem), problem.reference)


def test_ceu_has_a_gradient_where_the_label_is_certain_and_stays_finite_where_it_is_unlikely():
    """Section 3: ascent's gradient on the label's logit is p - 1, which vanishes at p = 1; CE-U's is p."""
    logits = torch.tensor([[40.0, 0.0, 1.0], [-40.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    rows = Predictions(logits, torch.tensor([0, 0]), torch.tensor([0, 1]), 2)
    ceu(rows).sum().backward()
    assert logits.grad[:, 0].tolist() == pytest.approx([1.0, 0.0], abs=1e-12)


def test_pdu_flattens_and_its_dual_variable_follows_the_constraint(world):
    """Violated, the dual variable rises by its step times the violation; met, it falls, and to 0 at the least."""
    problem = world()

    def whole(model):
        flat = [(rows.max(dim=1).values - rows.mean(dim=1)) ** 2 for rows, _ in rows_of(problem, model, problem.forget)]
        return torch.cat(flat).mean() + 2.0 * mean_ce(problem, model, problem.retain)

    loss = float(mean_ce(problem, problem.reference, problem.retain).detach())
    assert_weights(PDU(learner(problem), problem), descended(learner(problem), whole))
    tight, slack = world(), world()
    dataclasses.replace(PDU, bound=loss / 2)(learner(tight), tight)
    dataclasses.replace(PDU, bound=1e3)(learner(slack), slack)
    assert tight.record.tables["dual"][0]["dual"] == pytest.approx(2.0 + loss / 2, rel=1e-4)
    assert slack.record.tables["dual"][0]["dual"] == 0.0


def test_pdu_holds_its_dual_variable_during_the_warmup(world):
    problem = world()
    dataclasses.replace(PDU, epochs=3, warmup=2, bound=1e-3)(learner(problem), problem)
    first, second, third = (row["dual"] for row in problem.record.tables["dual"])
    assert first == second == 2.0 < third


def test_rmu_steers_towards_one_direction_and_its_retain_term_begins_at_zero(world):
    problem = world()
    layer = at_depth(problem, 0.0)

    def whole(model):
        hidden = activations(problem, model, problem.forget, layer)
        target = 2.0 * direction(problem.seed, hidden.shape[1])
        return ((hidden - target) ** 2).mean()

    assert_weights(RMU(learner(problem), problem), descended(learner(problem), whole))


def test_rmu_draws_its_direction_from_the_seed_alone():
    torch.manual_seed(5)
    first = direction(3, 6)
    torch.rand(4)
    assert torch.equal(first, direction(3, 6)) and not torch.equal(first, direction(4, 6))
    assert float(first.norm()) == pytest.approx(1.0) and float(first.min()) >= 0.0


def test_rmu_finds_layers_by_depth_whatever_their_names(tiny_problem, text_problem):
    assert [at_depth(tiny_problem(), depth) for depth in (0.0, 1.0)] == ["conv1", "conv2"]
    assert [at_depth(text_problem(), depth) for depth in (0.0, 1.0)] == ["model.layers.0", "model.layers.1"]
