"""Facts about the methods that train on retain rows: scrub, neggrad_plus, l1_sparse, cf_k and eu_k."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from unlearnbench.evidence import Scores
from unlearnbench.methods.cf_k import CfK
from unlearnbench.methods.eu_k import EuK
from unlearnbench.methods.finetune import Finetune
from unlearnbench.methods.l1_sparse import L1Sparse
from unlearnbench.methods.neggrad_plus import NeggradPlus
from unlearnbench.methods.scrub import Scrub, nearest_epoch, reference_error
from unlearnbench.models.modes import Mode
from unlearnbench.models.tiny import TinyResNet
from unlearnbench.techniques.reset import freeze_before
from unlearnbench.training.optimizer import Optimizer
from worlds import SGD, image_info, same_weights

PLAIN = Optimizer(name="sgd", lr=0.05)
FINETUNE = Finetune(epochs=2, batch_size=32, batch_norm="train", optimizer=SGD)
SCRUB = Scrub(
    epochs=2, msteps=0, batch_size=64, forget_batch_size=32, batch_norm="frozen", gamma=0.9, alpha=0.3, temperature=4.0,
    rewind=False, optimizer=PLAIN,
)  # fmt: skip


def same_parameters(one, other):
    pairs = zip(one.named_parameters(), other.named_parameters(), strict=True)
    return all(name == also and torch.equal(a, b) for (name, a), (also, b) in pairs)


def divergence(student, teacher, temperature):
    """KL(teacher || student) of each row, from logits, by its definition."""
    p, q = ((logits / temperature).double().softmax(1) for logits in (teacher, student))
    return (p * (p.log() - q.log())).sum(1)


def by_hand(model, teacher, batches, loss, lr):
    """Plain gradient descent in evaluation mode."""
    for inputs, labels in batches:
        with torch.no_grad():
            known = teacher(inputs)
        slopes = torch.autograd.grad(loss(model(inputs), known, labels), list(model.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(model.parameters(), slopes, strict=True):
                parameter -= lr * slope
    return model


def test_scrub_without_max_steps_is_distillation_on_retain(tiny_problem, original):
    problem = tiny_problem()
    batches = problem.batches(problem.retain, size=64, epochs=2)
    seen = [(one.inputs, one.labels) for number in range(2) for (one,) in batches.epoch(number)]

    def loss(student, teacher, labels):
        return 0.9 * functional.cross_entropy(student, labels) + 0.3 * 16 * divergence(student, teacher, 4).mean()

    expected = by_hand(copy.deepcopy(original), problem.reference, seen, loss, 0.05)
    for found, hand in zip(SCRUB(original, problem).parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, hand, atol=1e-5, rtol=1e-4)


def test_scrub_goes_up_on_forget_before_it_goes_down_on_retain(tiny_problem, original):
    problem = tiny_problem(reference=TinyResNetLike(original))
    up = next(iter(problem.batches(problem.forget, size=1000).epoch(0)))[0]
    down = next(iter(problem.batches(problem.retain, size=1000).epoch(1)))[0]
    expected = copy.deepcopy(original)
    by_hand(
        expected, problem.reference, [(up.inputs, up.labels)], lambda s, t, _: -16 * divergence(s, t, 4).mean(), 0.05
    )
    by_hand(
        expected, problem.reference, [(down.inputs, down.labels)],
        lambda s, t, y: 0.9 * functional.cross_entropy(s, y) + 0.3 * 16 * divergence(s, t, 4).mean(), 0.05,
    )  # fmt: skip
    method = replace(SCRUB, epochs=1, msteps=1, batch_size=1000, forget_batch_size=1000)
    for found, hand in zip(method(original, problem).parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, hand, atol=1e-5, rtol=1e-4)


class TinyResNetLike(torch.nn.Module):
    """A teacher that is not the student: its logits are halved."""

    def __init__(self, model):
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)

    def forward(self, inputs):
        return self.model(inputs) / 2


@pytest.mark.parametrize("msteps", [0, 1, 2, 5])
def test_scrub_ascends_in_as_many_epochs_as_it_says(tiny_problem, original, msteps):
    problem = tiny_problem()
    replace(SCRUB, epochs=3, msteps=msteps, optimizer=Optimizer(name="sgd", lr=1e-6))(original, problem)
    assert len(problem.record.curve) == 3 + min(msteps, 3)
    steps = 3 * len(problem.retain) + min(msteps, 3) * len(problem.forget)
    assert problem.record.examples == steps


def test_scrub_leaves_its_teacher_alone_and_forgets(tiny_problem, original, tiny):
    problem = tiny_problem()
    replace(SCRUB, epochs=3, msteps=3, batch_norm="train", optimizer=SGD)(original, problem)
    assert same_weights(problem.reference, tiny.original)
    scores = problem.task.score(original, problem.forget)
    assert (scores.prediction == scores.label).mean() < 0.5


def test_scrub_rewinds_to_the_epoch_whose_forget_error_is_nearest(tiny_problem, original):
    """Validation rows of the forgotten class are made wrong twice in five: some epoch's error is nearest to that."""
    whole = tiny_problem()
    labels = whole.task.data.labels
    test = whole.task.data.test
    unseen = test[labels[test] == 0]
    method = replace(SCRUB, epochs=4, msteps=4, batch_norm="train", optimizer=SGD, rewind=True)
    kept = []
    for epochs in range(1, 5):
        problem = tiny_problem(validation=unseen)
        model = replace(method, epochs=epochs, msteps=4, rewind=False)(copy.deepcopy(original), problem)
        kept.append((model, 1 - problem.task.score(model, problem.forget).right[1].mean()))
    problem = tiny_problem(validation=unseen)
    model = method(original, problem)
    wanted = reference_error(kept[-1][0], problem)
    best = nearest_epoch([error for _, error in kept], wanted)
    assert same_weights(model, kept[best][0])
    assert [row["chosen"] for row in problem.record.tables["rewind"]].index(1.0) == best


def test_nearest_epoch_by_hand():
    assert nearest_epoch([0.0, 0.3, 0.7, 1.0], 0.4) == 1
    assert nearest_epoch([0.2, 0.9, 0.2], 0.1) == 2
    assert nearest_epoch([0.5], 1.0) == 0


class Told:
    """A task whose scores are given: labels and hits by the first position."""

    def __init__(self, scores):
        self.scores = scores

    def score(self, _model, index):
        return self.scores[int(index[0])]


def scores(labels, predictions):
    logits = np.eye(3, dtype=np.float32)[predictions]
    return Scores(logits, np.array(labels), np.arange(len(labels)))


def test_the_reference_of_a_rewind_is_the_error_on_validation_rows_of_the_same_classes(tiny_problem, original):
    forget, validation = scores([0, 0, 1], [0, 0, 1]), scores([0, 0, 1, 2, 2], [0, 1, 2, 0, 0])
    problem = tiny_problem(task=Told({5: forget, 9: validation}), forget=np.array([5]), validation=np.array([9]))
    assert reference_error(original, problem) == pytest.approx(2 / 3)
    other = replace(problem, task=Told({5: scores([0, 1], [0, 1]), 9: scores([2], [2])}))
    assert reference_error(original, other) == 1.0


def test_scrub_does_not_rewind_without_validation_rows(tiny_problem):
    without = tiny_problem(validation=np.arange(0))
    assert "method.rewind=false" in replace(SCRUB, rewind=True).check(without)
    assert SCRUB.check(without) is None


def test_neggrad_plus_with_all_weight_on_retain_is_finetuning(tiny_problem, original):
    tuned = FINETUNE(copy.deepcopy(original), tiny_problem())
    method = NeggradPlus(epochs=2, batch_size=32, batch_norm="train", retain_weight=1.0, optimizer=SGD)
    assert same_parameters(method(original, tiny_problem()), tuned)


def test_neggrad_plus_one_step_by_hand(tiny_problem, original):
    problem = tiny_problem()
    retain, forget = next(iter(problem.batches(problem.retain, problem.forget, size=1000).epoch(0)))
    start = copy.deepcopy(original)
    kept, lost = (functional.cross_entropy(start(one.inputs), one.labels) for one in (retain, forget))
    slopes = torch.autograd.grad(0.7 * kept - 0.3 * lost, list(start.parameters()))
    model = NeggradPlus(epochs=1, batch_size=1000, batch_norm="frozen", retain_weight=0.7, optimizer=PLAIN)(
        original, problem
    )
    for found, before, slope in zip(model.parameters(), start.parameters(), slopes, strict=True):
        torch.testing.assert_close(found, before - 0.05 * slope)


def test_l1_sparse_without_a_penalty_is_finetuning(tiny_problem, original):
    tuned = FINETUNE(copy.deepcopy(original), tiny_problem())
    method = L1Sparse(epochs=2, batch_size=32, batch_norm="train", alpha=0.0, optimizer=SGD)
    assert same_weights(method(original, tiny_problem()), tuned)


def test_l1_sparse_penalty_falls_in_a_line_over_the_epochs(tiny_problem, original):
    """One step an epoch: each takes lr * alpha * (1 - epoch / epochs) * sign off, beside the slope of the loss."""
    problem, alpha = tiny_problem(), 0.1
    batches = problem.batches(problem.retain, size=1000, epochs=4)
    expected = copy.deepcopy(original)
    for epoch, share in enumerate([1.0, 0.75, 0.5, 0.25]):
        ((batch,),) = batches.epoch(epoch)
        loss = functional.cross_entropy(expected(batch.inputs), batch.labels)
        slopes = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(expected.parameters(), slopes, strict=True):
                parameter -= 0.05 * (slope + alpha * share * parameter.sign())
    model = L1Sparse(epochs=4, batch_size=1000, batch_norm="frozen", alpha=alpha, optimizer=PLAIN)(original, problem)
    for found, hand in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, hand, atol=1e-5, rtol=1e-4)


def size(model):
    return float(sum(one.detach().abs().sum() for one in model.parameters()))


def test_l1_sparse_makes_weights_smaller(tiny_problem, original):
    before = size(original)
    L1Sparse(epochs=2, batch_size=32, batch_norm="train", alpha=1e-3, optimizer=SGD)(original, tiny_problem())
    assert size(original) < before


def test_cf_k_of_all_blocks_is_finetuning(tiny_problem, original):
    tuned = FINETUNE(copy.deepcopy(original), tiny_problem())
    method = CfK(blocks=2, epochs=2, batch_size=32, batch_norm="train", optimizer=SGD)
    assert same_weights(method(original, tiny_problem()), tuned)


@pytest.mark.parametrize("kind", [CfK, EuK])
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_what_comes_before_the_last_block_stays_bit_for_bit(tiny_problem, original, tiny, kind, batch_norm):
    decaying = replace(SGD, weight_decay=0.1)
    method = kind(blocks=1, epochs=1, batch_size=32, batch_norm=batch_norm, optimizer=decaying)
    after, before = method(original, tiny_problem()).state_dict(), tiny.original.state_dict()
    for name, value in after.items():
        first = name.startswith(("conv1", "bn1"))
        assert first or not name.endswith(("weight", "bias")) or not torch.equal(value, before[name]), name
        assert not first or torch.equal(value, before[name]), name


def test_no_gradient_is_computed_in_the_frozen_part(tiny_problem, original):
    problem, reached = tiny_problem(), []
    for name in ("conv1", "conv2"):
        layer = original.get_submodule(name)
        layer.register_forward_hook(lambda _m, _i, out, name=name: reached.append(name) if out.requires_grad else None)
    CfK(blocks=1, epochs=1, batch_size=64, batch_norm="train", optimizer=SGD)(original, problem)
    assert set(reached) == {"conv2"}


def test_eu_k_starts_its_blocks_from_fresh_weights(tiny_problem, original):
    problem, still = tiny_problem(), Optimizer(name="sgd", lr=1e-30)
    fresh = problem.start().state_dict()
    first = {name: value.clone() for name, value in original.state_dict().items() if name.startswith(("conv1", "bn1"))}
    model = EuK(blocks=1, epochs=1, batch_size=64, batch_norm="frozen", optimizer=still)(original, problem)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, first.get(name, fresh[name]), atol=1e-7, rtol=0)


def test_eu_k_of_all_blocks_starts_from_fresh_weights_altogether(tiny_problem, original):
    problem, still = tiny_problem(), Optimizer(name="sgd", lr=1e-30)
    model = EuK(blocks=9, epochs=1, batch_size=64, batch_norm="frozen", optimizer=still)(original, problem)
    for value, fresh in zip(model.parameters(), problem.start().parameters(), strict=True):
        torch.testing.assert_close(value, fresh, atol=1e-7, rtol=0)


def test_last_blocks_of_a_residual_network_take_the_norms_after_them(tiny_problem):
    spec = TinyResNet(depth=8, checkpoint=None)
    torch.manual_seed(0)
    model = spec.build(tiny_problem().info)
    problem = tiny_problem(spec=spec, reference=copy.deepcopy(model).eval().requires_grad_(False))
    CfK(blocks=3, epochs=1, batch_size=64, batch_norm="train", optimizer=SGD)(model, problem)
    frozen = {name for name, one in model.named_parameters() if not one.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"conv1", "bn1"}


def test_a_block_that_is_a_list_counts_as_its_layers():
    torch.manual_seed(0)
    model = TinyResNet(depth=14, checkpoint=None).build(image_info())
    freeze_before(model, TinyResNet(depth=14, checkpoint=None).parts(), 1)
    learned = {name for name, one in model.named_parameters() if one.requires_grad}
    assert {".".join(name.split(".")[:2]) for name in learned} == {"layer3.1", "linear.weight", "linear.bias"}


def test_batch_norm_with_frozen_weights_keeps_its_statistics_in_training(original):
    original.bn1.requires_grad_(False)
    Mode().enter(original)
    assert (original.bn1.training, original.bn2.training) == (False, True)


def test_a_shared_output_layer_stays_with_the_embedding(text_problem, tiny_text):
    """The tied matrix is also the first layer: cf_k of one block leaves it, and trains the block and the norm."""
    model = copy.deepcopy(tiny_text.original)
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    before = model.get_output_embeddings().weight.detach().clone()
    problem = text_problem()
    CfK(blocks=1, epochs=1, batch_size=32, batch_norm="train", optimizer=SGD)(model, problem)
    assert torch.equal(model.get_output_embeddings().weight, before) == tied
    assert torch.equal(model.model.embed_tokens.weight, tiny_text.original.model.embed_tokens.weight)
    moved = [name for name, one in model.named_parameters() if one.requires_grad]
    assert all(not name.startswith("model.layers.0.") for name in moved)
    assert any(name.startswith("model.layers.1.") for name in moved)
