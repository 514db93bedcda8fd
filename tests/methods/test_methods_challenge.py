"""The winners of the NeurIPS 2023 challenge: each one's first phase by hand, its loss by a naive loop, its limits."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.errors import UserError
from unlearnbench.methods import ct, fcs, msg, prmq
from unlearnbench.methods.finetune import Finetune
from unlearnbench.models.tiny import TinyResNet
from unlearnbench.request.config import build, config_root
from unlearnbench.techniques.balance import label_weights, weighted_cross_entropy
from unlearnbench.techniques.layers import add_noise, convolutions, first_layer, weighted
from unlearnbench.training.optimizer import Optimizer
from worlds import LORA, image_info, llama, same_weights

STILL = Optimizer(name="sgd", lr=1e-30)
PLAIN = Optimizer(name="sgd", lr=0.05)
NAMES = ("fcs", "msg", "cfw", "prmq", "ct", "kde", "rni")


def settings(name: str, **changes: object) -> object:
    """Build a method as its YAML describes it, with some values changed."""
    values = dict(OmegaConf.to_container(OmegaConf.load(config_root() / "method" / f"{name}.yaml")))
    optimizer = changes.pop("optimizer", None)
    made = build({**values, "epochs": 1, "batch_size": 64, "batch_norm": "frozen", **changes}, "method")
    return dataclasses.replace(made, optimizer=optimizer or STILL)


def finetuned(model, problem, epochs, optimizer=PLAIN):
    return Finetune(epochs=epochs, batch_size=64, batch_norm="frozen", optimizer=optimizer)(model, problem)


def rows(count=5, classes=4, seed=0):
    """Return predictions of two examples: the first has all rows but the last."""
    generator = torch.Generator().manual_seed(seed)
    example = torch.tensor([0] * (count - 1) + [1])
    labels = torch.randint(classes, (count,), generator=generator)
    return Predictions(torch.randn(count, classes, generator=generator), labels, example, 2, count / 2)


def softmax(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def changed(model, other):
    """Return the names of the parameters that differ."""
    theirs = dict(other.named_parameters())
    return {name for name, one in model.named_parameters() if not torch.equal(one, theirs[name])}


def big():
    torch.manual_seed(0)
    return TinyResNet(depth=20, checkpoint=None).build(image_info())


def test_kl_to_uniform_equals_a_naive_loop():
    student = rows()
    expected = [0.0, 0.0]
    for row, example in zip(student.logits.tolist(), student.example.tolist(), strict=True):
        kl = sum(0.25 * math.log(0.25 / p) for p in softmax(row))
        expected[example] += kl / student.rows_per_example
    torch.testing.assert_close(fcs.to_uniform(student), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0)


def test_contrast_equals_a_naive_loop():
    student, anchors, expected = rows(), rows(7, seed=1).logits, [0.0, 0.0]
    for row, example in zip(student.logits.tolist(), student.example.tolist(), strict=True):
        nearness = [sum(a * b for a, b in zip(row, anchor, strict=True)) / 1.15 for anchor in anchors.tolist()]
        expected[example] -= sum(math.log(p) for p in softmax(nearness)) / 7 / student.rows_per_example
    found = fcs.contrast(student, anchors, 1.15)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0)


def test_contrast_is_least_where_a_row_is_equally_near_to_all():
    student, anchors = rows(), rows(7, seed=1).logits
    even = dataclasses.replace(student, logits=torch.zeros(5, 4))
    assert float(fcs.contrast(even, anchors, 1.0).mean()) == pytest.approx(math.log(7))
    assert float(fcs.contrast(student, anchors, 1.0).mean()) > math.log(7)


def test_fcs_erases_by_one_step_towards_uniform(tiny_problem, original):
    problem, start = tiny_problem(), copy.deepcopy(original)
    batch = problem.task.batch(problem.forget, None)
    logs = torch.log_softmax(start(batch.inputs), dim=1)
    slopes = torch.autograd.grad((-math.log(4) - logs).mean(dim=1).mean(), list(start.parameters()))
    model = settings("fcs", batch_size=1000, erase_lr=0.05, contrast_lr=1e-30)(original, problem)
    for parameter, before, slope in zip(model.parameters(), start.parameters(), slopes, strict=True):
        torch.testing.assert_close(parameter, before - 0.05 * slope)


def test_fcs_numbers_its_epochs_across_its_optimisers(tiny_problem, original):
    problem = tiny_problem()
    settings("fcs", epochs=2)(original, problem)
    assert [row["epoch"] for row in problem.record.curve] == [1, 2, 3, 4, 5]  # erase, then contrast and repair twice
    passes = len(problem.forget) + 2 * (2 * len(problem.forget) + len(problem.retain))
    assert problem.record.examples == pytest.approx(passes, abs=10)


def test_msg_redraws_exactly_the_smallest_share_and_leaves_the_rest_bit_equal(original):
    slopes = {f"{name}.weight": torch.randn_like(layer.weight) for name, layer in convolutions(original).items()}
    before = copy.deepcopy(original)
    for weight, fresh in msg.redraw(original, slopes, 0.3):
        assert int(fresh.sum()) == round(0.3 * weight.numel())
    moved = changed(original, before)
    assert moved == set(slopes)
    for name in moved:
        sizes, limit = slopes[name].abs(), round(0.3 * slopes[name].numel())
        small = sizes < sizes.flatten().sort().values[limit]
        assert torch.equal(original.get_parameter(name) != before.get_parameter(name), small)


def test_msg_ranks_by_the_difference_of_retain_and_forget(tiny_problem, original, monkeypatch):
    problem, seen = tiny_problem(), {}
    monkeypatch.setattr(msg, "redraw", lambda model, slopes, share: seen.update(slopes) or [])
    start = copy.deepcopy(original)
    settings("msg")(original, problem)
    retain = problem.sample(problem.retain, len(problem.forget) / len(problem.retain))
    assert len(retain) == len(problem.forget)
    terms = [problem.task.batch(index, None) for index in (retain, problem.forget)]
    kept, lost = (nn.functional.cross_entropy(start(one.inputs), one.labels) for one in terms)
    expected = torch.autograd.grad(kept - lost, start.conv2.weight)[0]
    torch.testing.assert_close(seen["conv2.weight"], expected, rtol=1e-4, atol=1e-6)


def test_msg_moves_kept_weights_by_a_tenth_of_their_gradient(original, tiny_problem):
    problem, start = tiny_problem(), copy.deepcopy(original)
    batch = problem.task.batch(problem.retain, None)
    slope = torch.autograd.grad(nn.functional.cross_entropy(start(batch.inputs), batch.labels), start.conv2.weight)[0]
    fresh = torch.rand_like(slope) < 0.5
    with msg.damped([(original.conv2.weight, fresh)], 0.1):
        finetuned_once = Finetune(epochs=1, batch_size=1000, batch_norm="frozen", optimizer=PLAIN)(original, problem)
    moved = finetuned_once.conv2.weight - start.conv2.weight
    torch.testing.assert_close(moved, -0.05 * torch.where(fresh, 1.0, 0.1) * slope, rtol=1e-3, atol=1e-6)
    nn.functional.cross_entropy(original(batch.inputs), batch.labels).backward()
    assert not original.conv2.weight._backward_hooks


def test_ct_transposes_every_kernel_and_twice_restores():
    model = big()
    before = copy.deepcopy(model)
    ct.transpose(model)
    kernel, theirs = model.layer1[0].conv1.weight, before.layer1[0].conv1.weight
    assert all(torch.equal(kernel[..., y, x], theirs[..., x, y]) for y in range(3) for x in range(3))
    assert changed(model, before) == {f"{name}.weight" for name in convolutions(model)}
    ct.transpose(model)
    assert same_weights(model, before)


def test_ct_leaves_kernels_without_a_transpose():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, (1, 3)), nn.Conv2d(2, 2, 3))
    assert ct.squares(model) == [model[2]]


def test_noise_has_the_stated_scale():
    weights = [torch.zeros(200, 500), torch.zeros(300, 100)]
    add_noise(weights, 0.04)
    assert [float(one.std()) for one in weights] == pytest.approx([0.04, 0.04], rel=0.02)


@pytest.mark.parametrize(
    ("layers", "reached"), [("all", {"conv1.weight", "conv2.weight"}), ("first", {"conv1.weight"})]
)
def test_cfw_reaches_the_convolutions_alone(tiny_problem, original, layers, reached):
    before = copy.deepcopy(original)
    model = settings("cfw", layers=layers, noise=0.1)(original, tiny_problem())
    assert changed(model, before) == reached
    assert float((model.conv1.weight - before.conv1.weight).detach().std()) == pytest.approx(0.1, rel=0.2)


def test_cfw_adds_the_last_noise_before_the_last_epoch(tiny_problem, original):
    before = copy.deepcopy(original)
    once = settings("cfw", noise=0.0, last_noise=0.1)(copy.deepcopy(original), tiny_problem())
    twice = settings("cfw", noise=0.0, last_noise=0.1, epochs=2)(original, tiny_problem())
    assert same_weights(once, before)
    assert changed(twice, before) == {"conv1.weight", "conv2.weight"}


def test_cfw_without_noise_is_finetune(tiny_problem, original):
    ours = settings("cfw", noise=0.0, last_noise=0.0, epochs=2, optimizer=PLAIN)(
        copy.deepcopy(original), tiny_problem()
    )
    assert same_weights(ours, finetuned(original, tiny_problem(), 2))


def test_label_weights_by_hand():
    labels = torch.tensor([0, 0, 0, 2, -100])
    batch = Batch(torch.zeros(5, 1), labels, torch.arange(5))
    assert label_weights([batch], 1.0).tolist() == pytest.approx([2 / 3, 0.0, 2.0])  # each label has half of the say
    assert label_weights([batch], 0.0) is None
    weights = label_weights([batch], 0.5)
    assert float(weights[2] / weights[0]) == pytest.approx(3**0.5)


def test_weighted_cross_entropy_equals_a_naive_loop():
    student, weights, expected = rows(), torch.tensor([0.5, 2.0, 1.0, 3.0]), [0.0, 0.0]
    parts = (student.logits.tolist(), student.labels.tolist(), student.example.tolist())
    for row, label, example in zip(*parts, strict=True):
        expected[example] -= float(weights[label]) * math.log(softmax(row)[label]) / student.rows_per_example
    found = weighted_cross_entropy(student, weights)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0)


def test_prmq_prunes_exactly_the_stated_share_of_the_smallest():
    parameters = [torch.randn(7, 9), torch.randn(11)]
    masks = prmq.smallest(parameters, 0.37)
    assert sum(int(mask.sum()) for mask in masks) == round(0.37 * 74)
    pruned = torch.cat([one[mask].abs() for one, mask in zip(parameters, masks, strict=True)])
    kept = torch.cat([one[~mask].abs() for one, mask in zip(parameters, masks, strict=True)])
    assert pruned.max() < kept.min()


def test_prmq_redraws_pruned_weights_and_zeroes_pruned_biases(original):
    before = copy.deepcopy(original)
    parameters = [one for layer in weighted(before) for one in layer.parameters()]
    masks = dict(zip([id(one) for one in parameters], prmq.smallest(parameters, 0.6), strict=True))
    prmq.redraw(original, 0.6)
    for name in ("conv1", "conv2", "linear"):
        layer, theirs = original.get_submodule(name), before.get_submodule(name)
        gone = masks[id(theirs.weight)]
        assert torch.equal(layer.weight[~gone], theirs.weight[~gone])
        assert float(layer.weight[gone].detach().abs().max()) <= layer.weight[0].numel() ** -0.5
        assert not bool((layer.weight[gone] == theirs.weight[gone]).any())
        gone = masks[id(theirs.bias)]
        assert torch.equal(layer.bias, theirs.bias.masked_fill(gone, 0.0))
    assert {name for name in changed(original, before) if name.startswith("bn")} == set()


def test_prmq_counts_a_shared_weight_once(tiny_text):
    model = tiny_text.original
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert sum(one.weight is model.lm_head.weight for one in weighted(model)) == 1


def test_entropy_equals_a_naive_loop():
    student = rows()
    expected = [-sum(p * math.log(p) for p in softmax(row)) for row in student.logits.tolist()]
    torch.testing.assert_close(prmq.entropy(student), torch.tensor(expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize("quantise", [True, False])
def test_prmq_rounds_to_sixteen_bits(tiny_problem, original, quantise):
    before = copy.deepcopy(original)
    model = settings("prmq", share=0.0, quantise=quantise)(original, tiny_problem())
    for one, start in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(one, start.half().float() if quantise else start)


def test_prmq_without_its_parts_is_finetune(tiny_problem, original):
    ours = settings("prmq", share=0.0, entropy_weight=0.0, quantise=False, epochs=2, optimizer=PLAIN)
    assert same_weights(ours(copy.deepcopy(original), tiny_problem()), finetuned(original, tiny_problem(), 2))


def test_kde_resets_only_the_first_and_the_last_layer(tiny_problem, original):
    before, problem = copy.deepcopy(original), tiny_problem()
    model = settings("kde")(original, problem)
    assert changed(model, before) == {"conv1.weight", "conv1.bias", "linear.weight", "linear.bias"}
    assert torch.equal(model.conv1.weight, problem.random().conv1.weight)


def test_kde_finds_the_first_layer_of_any_model(tiny_text):
    assert first_layer(big()) == "conv1"
    assert first_layer(tiny_text.original) == "model.embed_tokens"


def test_kde_relearns_by_one_step_down_ce_and_kl(tiny_problem, original):
    problem = tiny_problem()
    start = settings("kde", warm_up=0)(copy.deepcopy(original), problem)  # reset, and not trained
    batch = problem.task.batch(problem.retain, None)
    student, teacher = start(batch.inputs).double(), problem.reference(batch.inputs).double()
    softened = torch.softmax(teacher / 2, dim=1)
    kl = (softened * (softened.log() - torch.log_softmax(student / 2, dim=1))).sum(dim=1).mean()
    loss = nn.functional.cross_entropy(student, batch.labels) + 2 * kl
    slopes = torch.autograd.grad(loss, list(start.parameters()))
    method = settings("kde", warm_up=0, temperature=2.0, distill_weight=2.0, batch_size=1000, optimizer=PLAIN)
    model = method(original, tiny_problem())
    for parameter, before, slope in zip(model.parameters(), start.parameters(), slopes, strict=True):
        torch.testing.assert_close(parameter, before - 0.05 * slope, rtol=1e-4, atol=1e-6)


def test_rni_without_rounds_and_new_head_is_finetune(tiny_problem, original):
    ours = settings("rni", rounds=0, reset_head=False, epochs=2, optimizer=PLAIN)
    assert same_weights(ours(copy.deepcopy(original), tiny_problem()), finetuned(original, tiny_problem(), 2))


def test_rni_with_all_weights_and_no_noise_is_finetune(tiny_problem, original):
    ours = settings("rni", rounds=2, reset_head=False, tensors=99, noise=0.0, round_lr=0.05, optimizer=PLAIN)
    assert same_weights(ours(copy.deepcopy(original), tiny_problem()), finetuned(original, tiny_problem(), 3))


def test_rni_disturbs_and_trains_what_it_chose_and_holds_the_rest(tiny_problem, original):
    before = copy.deepcopy(original)
    noisy = settings("rni", rounds=1, reset_head=False, tensors=2, noise_share=0.5, noise=0.1, round_lr=1e-30)
    assert len(changed(noisy(copy.deepcopy(original), tiny_problem()), before)) == 1
    learning = settings("rni", rounds=1, reset_head=False, tensors=2, noise=0.0, round_lr=0.05)
    moved = changed(learning(original, tiny_problem()), before)
    assert len(moved & {"conv1.weight", "conv2.weight", "linear.weight"}) == 2
    assert {"bn1.weight", "bn1.bias", "linear.bias"} <= moved


def test_rni_adds_noise_once_to_each_weight_and_none_beside_a_new_head(tiny_problem, original, monkeypatch):
    noisy = []
    monkeypatch.setattr("unlearnbench.methods.rni.add_noise", lambda weights, scale: noisy.extend(weights))
    quiet = settings("rni", rounds=1, reset_head=True, tensors=99, noise_share=1.0)
    model = quiet(copy.deepcopy(original), tiny_problem())
    assert not noisy and not torch.equal(model.linear.weight, original.linear.weight)
    settings("rni", rounds=3, reset_head=False, tensors=99, noise_share=1.0)(original, tiny_problem())
    assert sorted(id(one) for one in noisy) == sorted(id(one) for one in original.parameters() if one.ndim > 1)


@pytest.mark.parametrize("name", ["msg", "cfw", "ct"])
def test_a_model_without_convolutions_is_a_reason(name, tiny_problem):
    reason = settings(name).check(tiny_problem(reference=nn.Sequential(nn.Flatten(), nn.Linear(4, 2))))
    assert "convolution" in reason and "try method=" in reason
    assert settings(name).check(tiny_problem()) is None


@pytest.mark.parametrize("name", ["prmq", "kde", "rni"])
def test_an_adapter_is_a_reason(name, text_problem):
    assert "needs all weights" in settings(name).check(text_problem(spec=llama(LORA)))
    assert settings(name).check(text_problem()) is None


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("fcs", "temperature", 0.0), ("fcs", "erase_lr", 0.0), ("msg", "share", 0.0), ("msg", "damping", 1.5),
        ("cfw", "noise", -0.1), ("cfw", "layers", "last"), ("cfw", "balance", 2.0), ("prmq", "share", 1.0),
        ("prmq", "entropy_weight", -1.0), ("kde", "warm_up", -1), ("kde", "warm_up_share", 0.0),
        ("rni", "noise_share", 1.1), ("rni", "tensors", 0), ("ct", "epochs", 0),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(name, field, value):
    values = dict(OmegaConf.to_container(OmegaConf.load(config_root() / "method" / f"{name}.yaml")))
    with pytest.raises(UserError, match=field):
        build({**values, field: value}, "method")


def test_the_seven_are_of_2023_and_have_a_family():
    found = {name: settings(name) for name in NAMES}
    assert {one.year for one in found.values()} == {2023}
    assert {one.family for one in found.values()} == {"relabelling", "weight surgery", "teachers"}
