"""Methods that compare a student with the original: one step of a student that has left it is the naive step.

A student that equals the original would not do: there KL and distances have no slope, and the original could be missing
from a loss, or be the student itself, unnoticed.
"""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional

from naive import (
    activations,
    assert_weights,
    ce,
    descended,
    kl,
    kl_rows,
    learner,
    mean_ce,
    moved,
    rows_of,
    summed_ce,
)
from unlearnbench.methods.bias_unlearn import BiasUnlearn
from unlearnbench.methods.delete import Delete
from unlearnbench.methods.distill import Distill
from unlearnbench.methods.dpo import Dpo
from unlearnbench.methods.kde import Kde
from unlearnbench.methods.kl_min import KlMin
from unlearnbench.methods.npo import Npo
from unlearnbench.methods.prmq import Prmq
from unlearnbench.methods.rmu import Rmu
from unlearnbench.methods.undial import Undial
from unlearnbench.randomness import seeded
from unlearnbench.training.optimizer import Optimizer

BASE = {"epochs": 1, "batch_size": 64, "batch_norm": "frozen", "optimizer": Optimizer(name="sgd", lr=0.05)}
WEIGHTS = {"forget_weight": 0.5, "retain_weight": 2.0}
BIAS = BiasUnlearn(
    **BASE, beta=0.1, forget_weight=0.5, correct_weight=0.3, retain_weight=2.0, adversarial=0.25, target=1.0,
    tolerance=0.0, check_every=1000,
)  # fmt: skip
LAYERS = {"image": {0.0: "conv1", 1.0: "conv2"}, "text": {0.0: "model.layers.0", 1.0: "model.layers.1"}}
ENDS = {"image": ("conv1", "linear"), "text": ("model.embed_tokens", "lm_head")}


@pytest.fixture(params=["image", "text"])
def problem(request, tiny_problem, text_problem):
    """Return a problem with a few examples of images, then of text."""
    return few(tiny_problem if request.param == "image" else text_problem)


@pytest.fixture
def asked(text_problem):
    """Return a problem with a few questions, whose answers have corrected ones."""
    return few(text_problem)


def few(make):
    whole = make()
    return make(forget=whole.forget[:8], retain=whole.retain[:8], validation=whole.validation[:8])


def assert_step(method, problem, start, *terms):
    """Check that the method takes one step down the sum of these terms."""
    expected = descended(start, *terms)
    assert_weights(method(start, problem), expected)


def test_kl_min_goes_up_on_forget_and_holds_the_originals_predictions_on_retain(problem):
    start = moved(problem)
    assert_step(
        KlMin(**BASE, **WEIGHTS),
        problem,
        start,
        lambda model: -0.5 * mean_ce(problem, model, problem.forget),
        lambda model: 2.0 * kl_rows(problem, problem.reference, model, problem.retain).mean(),
    )


@pytest.mark.parametrize("depth", [0.0, 1.0])
def test_rmu_steers_forget_and_holds_retain_where_the_original_has_it(problem, depth):
    layer, start = LAYERS[problem.info.kind][depth], moved(problem)

    def steered(model):
        hidden = activations(problem, model, problem.forget, layer)
        with seeded(problem.seed, "direction"):
            drawn = torch.rand(hidden.shape[1])
        return ((hidden - 20.0 * drawn / drawn.square().sum().sqrt()) ** 2).mean()

    def kept(model):
        there, here = (activations(problem, one, problem.retain, layer) for one in (problem.reference, model))
        return 100.0 * ((here - there) ** 2).mean()

    method = Rmu(**BASE, depth=depth, steering=20.0, retain_weight=100.0)
    assert_step(method, problem, start, steered, kept)


def test_undial_lowers_the_label_in_the_originals_logits(problem):
    start = moved(problem)

    def lost(model):
        values = []
        before = rows_of(problem, problem.reference, problem.forget)
        for (theirs, labels), (ours, _) in zip(before, rows_of(problem, model, problem.forget), strict=True):
            target = torch.softmax(theirs - 3.0 * functional.one_hot(labels, theirs.shape[1]), dim=1)
            values.append(-(target * torch.log_softmax(ours, dim=1)).sum(dim=1))
        return 0.5 * torch.cat(values).mean()

    assert_step(
        Undial(**BASE, **WEIGHTS, beta=3.0),
        problem,
        start,
        lost,
        lambda model: 2.0 * mean_ce(problem, model, problem.retain),
    )


def test_delete_imitates_the_original_without_the_true_class(problem):
    start = moved(problem)

    def lost(model):
        values = []
        before = rows_of(problem, problem.reference, problem.forget)
        for (theirs, labels), (ours, _) in zip(before, rows_of(problem, model, problem.forget), strict=True):
            theirs[torch.arange(len(labels)), labels] = -torch.inf
            values.append(kl(theirs, ours))
        return torch.cat(values).mean()

    assert_step(Delete(**BASE), problem, start, lost)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_distill_has_the_random_teacher_on_forget_and_the_original_on_retain(problem, share):
    start, incompetent = moved(problem), problem.random()
    retain = problem.sample(problem.retain, share)
    assert len(retain) == 8 * share
    taught = [(problem.forget, incompetent), (retain, problem.reference)]
    count = sum(len(labels) for index, _ in taught for _, labels in rows_of(problem, start, index))

    def part(index, teacher):
        return lambda model: kl_rows(problem, teacher, model, index, temperature=2.0).sum() / count

    method = Distill(**BASE, temperature=2.0, retain_share=share)
    assert_step(method, problem, start, *(part(*one) for one in taught))


def test_prmq_weighs_labels_and_matches_the_originals_entropy(problem):
    start = moved(problem)
    seen = torch.cat([labels for _, labels in rows_of(problem, start, problem.retain)])
    counts = torch.stack([(seen == label).sum() for label in seen])
    rarity = counts.double() ** -0.5
    weights = rarity / rarity.mean()
    assert weights.max() > 1.2 * weights.min()

    def entropies(model):
        logs = torch.cat([torch.log_softmax(logits, dim=1) for logits, _ in rows_of(problem, model, problem.retain)])
        return -(logs.exp() * logs).sum(dim=1)

    def learnt(model):
        return (weights * torch.cat([ce(*rows) for rows in rows_of(problem, model, problem.retain)])).mean()

    def matched(model):
        return 3.0 * ((entropies(model) - entropies(problem.reference).detach()) ** 2).mean()

    method = Prmq(**BASE, share=0.0, entropy_weight=3.0, balance=0.5, quantise=False)
    assert_step(method, problem, start, learnt, matched)


def test_kde_warms_up_on_the_originals_outputs_and_then_relearns_labels_beside_them(problem):
    start, fresh = learner(problem), problem.random()
    with torch.no_grad():
        for name in ENDS[problem.info.kind]:
            for ours, new in zip(*(one.get_submodule(name).parameters() for one in (start, fresh)), strict=True):
                ours.copy_(new)

    def apart(model):
        return kl_rows(problem, problem.reference, model, problem.retain, temperature=2.0).mean()

    warm = descended(start, apart)
    expected = descended(warm, lambda model: mean_ce(problem, model, problem.retain), lambda model: 3.0 * apart(model))
    method = Kde(**BASE, warm_up=1, warm_up_share=1.0, temperature=2.0, distill_weight=3.0)
    assert_weights(method(learner(problem), problem), expected)


def log_sigmoid(values):
    return -torch.log1p(torch.exp(-values))


def npo(problem, model, index):
    """-(2 / beta) log sigmoid(beta (l - l_original)) of each example."""
    further = summed_ce(problem, model, index) - summed_ce(problem, problem.reference, index).detach()
    return -(2 / 0.1) * log_sigmoid(0.1 * further)


def test_npo_compares_whole_answers_with_the_originals(problem):
    start = moved(problem)
    assert_step(
        Npo(**BASE, **WEIGHTS, beta=0.1),
        problem,
        start,
        lambda model: 0.5 * npo(problem, model, problem.forget).mean(),
        lambda model: 2.0 * mean_ce(problem, model, problem.retain),
    )


def test_dpo_compares_both_answers_with_the_originals(asked):
    start, twins = moved(asked), asked.corrected(asked.forget)

    def gained(model):
        won, lost = (
            summed_ce(asked, asked.reference, index).detach() - summed_ce(asked, model, index)
            for index in (twins, asked.forget)
        )
        return 0.5 * -(2 / 0.1) * log_sigmoid(0.1 * (won - lost)).mean()

    assert_step(
        Dpo(**BASE, **WEIGHTS, beta=0.1), asked, start, gained, lambda model: 2.0 * mean_ce(asked, model, asked.retain)
    )


def bias_terms(problem, own, corrected, adversarial=0.25):
    """NPO on own answers but for the adversarial share's, CE on corrected ones and KL on retain, as functions."""
    chosen = problem.sample(problem.forget, adversarial) if adversarial else []
    turned = torch.isin(torch.from_numpy(problem.forget), torch.tensor(chosen))
    assert int(turned.sum()) == 8 * adversarial

    def lost(model):
        return 0.5 * torch.where(turned, npo(problem, model, corrected), npo(problem, model, own)).mean()

    return (
        lost,
        lambda model: 0.3 * mean_ce(problem, model, corrected),
        lambda model: 2.0 * kl_rows(problem, problem.reference, model, problem.retain).mean(),
    )


def test_bias_unlearn_turns_the_adversarial_share_around(asked):
    start = moved(asked)
    assert_step(BIAS, asked, start, *bias_terms(asked, asked.forget, asked.corrected(asked.forget)))


def test_bias_unlearn_swaps_both_answers_below_the_target(asked):
    start, twins = moved(asked), asked.corrected(asked.forget)
    first = descended(start, *bias_terms(asked, asked.forget, twins))
    expected = descended(first, *bias_terms(asked, twins, asked.forget, adversarial=0))
    found = dataclasses.replace(BIAS, epochs=2, check_every=1)(copy.deepcopy(start), asked)
    assert asked.record.tables["bias"][0]["swapped"] == 1.0
    assert_weights(found, expected)
