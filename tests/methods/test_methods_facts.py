"""One fact from each method's paper."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch

from unlearnbench.errors import Diverged, UserError
from unlearnbench.methods.distill import Distill
from unlearnbench.methods.finetune import Finetune
from unlearnbench.methods.gradient_ascent import GradientAscent
from unlearnbench.methods.masking import Masking, strongest
from unlearnbench.methods.none import Nothing
from unlearnbench.methods.retrain import Retrain
from unlearnbench.models.hooks import output_of
from unlearnbench.models.tiny import TinyResNet
from unlearnbench.models.weights import differ
from unlearnbench.training.optimizer import Optimizer
from worlds import RECIPE, SGD, image_info, same_weights, timm_model

ADAM = Optimizer(name="adam", lr=1e-2)


def accuracy(problem, model, index):
    scores = problem.task.score(model, index)
    return float((scores.prediction == scores.label).mean())


def test_none_returns_the_original(tiny_problem, original, tiny):
    assert same_weights(Nothing()(original, tiny_problem()), tiny.original)


def test_retrain_never_saw_the_forget_class(tiny_problem, original):
    problem = tiny_problem()
    model = Retrain()(original, problem)
    assert accuracy(problem, model, problem.forget) == 0.0
    assert accuracy(problem, model, problem.retain) > 0.9
    assert problem.record.examples == RECIPE.epochs * len(problem.retain)


def test_finetune_keeps_retain(tiny_problem, original):
    problem = tiny_problem()
    model = Finetune(epochs=2, batch_size=32, batch_norm="train", optimizer=SGD)(original, problem)
    assert accuracy(problem, model, problem.retain) > 0.9


def test_gradient_ascent_raises_the_forget_loss(tiny_problem, original):
    problem = tiny_problem()
    before = problem.task.score(original, problem.forget).loss.mean()
    model = GradientAscent(epochs=2, batch_size=32, batch_norm="train", optimizer=SGD)(original, problem)
    assert problem.task.score(model, problem.forget).loss.mean() > before + 0.1


def test_gradient_ascent_one_step_is_the_negative_gradient(tiny_problem, original):
    problem = tiny_problem()
    optimizer = Optimizer(name="sgd", lr=0.05)
    start = copy.deepcopy(original).train()
    batch = next(iter(problem.batches(problem.forget, size=1000, epochs=1).epoch(0)))[0]
    loss = torch.nn.functional.cross_entropy(start(batch.inputs), batch.labels)
    gradient = torch.autograd.grad(loss, list(start.parameters()))
    model = GradientAscent(epochs=1, batch_size=1000, batch_norm="train", optimizer=optimizer)(original, problem)
    for parameter, before, slope in zip(model.parameters(), start.parameters(), gradient, strict=True):
        torch.testing.assert_close(parameter, before + 0.05 * slope)


def test_gradient_ascent_too_far_says_diverged(tiny_problem, original):
    method = GradientAscent(epochs=60, batch_size=32, batch_norm="train", optimizer=Optimizer(name="sgd", lr=1e30))
    with pytest.raises(Diverged) as error:
        method(original, tiny_problem())
    assert 1 <= error.value.step <= 120


def test_distill_forgets_and_keeps(tiny_problem, original):
    problem = tiny_problem()
    distill = Distill(epochs=10, batch_size=64, batch_norm="train", temperature=1.0, retain_share=1.0, optimizer=ADAM)
    model = distill(original, problem)
    assert accuracy(problem, model, problem.forget) < 0.4
    assert accuracy(problem, model, problem.retain) > 0.85


def test_distill_without_forget_examples_would_stay_at_the_original(tiny_problem, original):
    """Eq. 3 with no forget examples is KL(original || student), whose minimum is the original itself."""
    problem = tiny_problem(forget=np.array([10**6, 10**6 + 1]))
    gradient_free = Distill(
        epochs=1,
        batch_size=64,
        batch_norm="train",
        temperature=1.0,
        retain_share=1.0,
        optimizer=Optimizer(name="sgd", lr=1e-8),
    )
    problem = tiny_problem(forget=tiny_problem().retain[:0])
    before = problem.task.score(original, problem.retain).logits
    model = gradient_free(original, problem)
    after = problem.task.score(model, problem.retain).logits
    assert (after.argmax(1) == before.argmax(1)).mean() > 0.95


def test_masking_masks_what_responds_to_the_forget_class(tiny_problem, original):
    problem = tiny_problem()
    masking = Masking(layer=None, unit="channel", score="difference", threshold=None, share=0.1, batch_size=64)
    model = masking(original, problem)
    mask = model.features.unit_mask
    assert mask.shape == (32, 1, 1)
    assert int((mask == 0).sum()) == round(0.1 * 32)
    drop_forget = accuracy(problem, problem.reference, problem.forget) - accuracy(problem, model, problem.forget)
    drop_retain = accuracy(problem, problem.reference, problem.retain) - accuracy(problem, model, problem.retain)
    assert drop_forget > drop_retain


def test_masking_threshold_is_the_mean_over_forget(tiny_problem, original):
    problem = tiny_problem()
    masking = Masking(layer="features", unit="position", score="forget", threshold=0.5, share=None, batch_size=7)
    model = masking(copy.deepcopy(original), problem)
    batch = problem.task.batch(problem.forget, None)
    mean = problem.hidden(original, batch, "features").mean(dim=0)
    clear = (mean - 0.5).abs() > 1e-5
    assert torch.equal((model.features.unit_mask == 0)[clear], (mean >= 0.5)[clear])


def test_masking_records_the_accuracy_that_a_mask_of_each_strength_leaves(tiny_problem, original):
    problem = tiny_problem()
    masking = Masking(layer=None, unit="channel", score="difference", threshold=None, share=0.1, batch_size=64)
    model = masking(original, problem)
    rows = problem.record.tables["strength"]
    none, chosen = rows[0], rows[-1]
    assert (none["share"], none["chosen"], chosen["chosen"]) == (0.0, 0.0, 1.0)
    assert chosen["share"] == pytest.approx(float((model.features.unit_mask == 0).float().mean()))
    for row, one in ((none, problem.reference), (chosen, model)):
        assert row["forget_accuracy"] == pytest.approx(accuracy(problem, one, problem.forget), abs=1e-6)
        assert row["retain_accuracy"] == pytest.approx(accuracy(problem, one, problem.retain), abs=1e-6)
    shares = [row["share"] for row in rows[:-1]]
    assert shares == sorted(shares)


def test_masking_runs_each_example_through_the_network_once(tiny_problem, original):
    problem = tiny_problem()
    seen = []
    handle = problem.reference.features.register_forward_hook(lambda _module, inputs, _out: seen.append(len(inputs[0])))
    Masking(layer=None, unit="position", score="forget", threshold=0.5, share=None, batch_size=64)(original, problem)
    handle.remove()
    whole = [count for count in seen if count > 2]  # two show that the layer's output can be replaced
    assert sum(whole) == len(problem.retain) + len(problem.forget)


def masking_of(layer):
    return Masking(layer=layer, unit="channel", score="difference", threshold=None, share=0.1, batch_size=64)


def test_what_a_layer_puts_out_is_read_before_it_is_changed_in_place():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(inplace=True)).eval()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(output_of(model, "0", lambda: model(images)), model[0](images))
        with pytest.raises(TypeError, match="got no output"):
            output_of(model, "0", lambda: None)


def test_masking_masks_no_more_than_its_share_of_equal_units():
    score = torch.tensor([3.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert [int(strongest(score, share).sum()) for share in (0.0, 0.01, 0.3)] == [0, 1, 3]
    assert strongest(score, 0.2).tolist() == [True, True] + [False] * 8


@pytest.mark.parametrize("layer, alone", [("layer3", True), ("layer3.0.conv1", False), ("layer2.0", True)])
def test_masking_draws_its_curve_where_the_output_alone_decides(tiny_problem, layer, alone):
    """Inside a residual block the sum with the block's input decides too, and one example cannot stand for n."""
    spec = TinyResNet(depth=8, checkpoint=None)
    torch.manual_seed(0)
    problem = tiny_problem(spec=spec, reference=spec.build(tiny_problem().info).eval())
    model = masking_of(layer)(copy.deepcopy(problem.reference), problem)
    assert ("strength" in problem.record.tables) == alone
    assert model.get_submodule(layer).unit_mask.min() == 0


def test_masking_names_a_layer_that_is_not_there(tiny_problem):
    with pytest.raises(UserError, match="Did you mean 'features'"):
        masking_of("feature").check(tiny_problem())


def test_a_mask_that_masks_nothing_says_so_and_changes_nothing(tiny_problem, original, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("unlearnbench"), "propagate", True)
    problem = tiny_problem()
    none = Masking(layer=None, unit="position", score="forget", threshold=1e6, share=None, batch_size=64)
    assert not differ(none(copy.deepcopy(original), problem), problem.reference)
    assert "nothing is masked" in caplog.text and "Try: method.threshold=null" in caplog.text
    assert differ(masking_of(None)(copy.deepcopy(original), problem), problem.reference)


@pytest.mark.parametrize("architecture, told", [("vit_tiny_patch16_224", "not maps"), ("resnet10t", None)])
def test_masking_wants_maps_of_channels(tiny_problem, architecture, told):
    spec, info = timm_model(architecture), image_info(32)
    with torch.device("meta"):
        model = spec.build(info)
    reason = masking_of(None).check(tiny_problem(spec=spec, reference=model, info=info))
    assert told in reason if told else reason is None
