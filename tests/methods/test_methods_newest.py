"""What the papers of sfr_on, duck, jit, amun, uam, mumis and negmerge say, and their sums by hand."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

from unlearnbench.contracts import Batch
from unlearnbench.errors import UserError
from unlearnbench.methods.amun import Amun
from unlearnbench.methods.duck import Duck, distances
from unlearnbench.methods.finetune import Finetune
from unlearnbench.methods.jit import Jit
from unlearnbench.methods.mumis import Mumis
from unlearnbench.methods.negmerge import Consensus, Negmerge
from unlearnbench.methods.sfr_on import SfrOn
from unlearnbench.methods.task_vector import TaskVector
from unlearnbench.methods.uam import Uam
from unlearnbench.request.config import build, config_root
from unlearnbench.training.optimizer import Optimizer
from worlds import SGD, same_weights

PLAIN = Optimizer(name="sgd", lr=0.1)
WHOLE = 1000
"""A batch that holds everything."""
SFR = SfrOn(
    epochs=1, batch_size=WHOLE, batch_norm="frozen", ascent=2.0, repairs=5, power=0.5, saliency=1.0, slow=1.0,
    optimizer=PLAIN,
)  # fmt: skip
DUCK = Duck(
    epochs=6, batch_size=32, batch_norm="frozen", forget_weight=1.0, retain_weight=1.4, temperature=2.0,
    early_stop=False, optimizer=Optimizer(name="adam", lr=3e-3),
)  # fmt: skip
JIT = Jit(epochs=1, batch_size=16, batch_norm="frozen", copies=3, noise=0.5, detach=False, optimizer=SGD)
AMUN = Amun(
    epochs=1, batch_size=32, batch_norm="train", radius=0.1, steps=10, doublings=8, with_forget=False, optimizer=SGD
)
MUMIS = Mumis(epochs=1, batch_size=16, batch_norm="frozen", optimizer=SGD)


def cross_entropy(model, batch):
    return functional.cross_entropy(model(batch.inputs), batch.labels, reduction="none")


def slopes(model, loss):
    parameters = list(model.parameters())
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)


def changed(name, **values):
    """Build a method as its YAML describes it, with some values changed."""
    given = OmegaConf.to_container(OmegaConf.load(config_root() / "method" / f"{name}.yaml"))
    return build({**given, **values}, "method")


@pytest.fixture
def forget(tiny_problem):
    """Return all forget images of the tiny problem as one batch."""
    problem = tiny_problem()
    return problem.task.batch(problem.forget, None)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("jit", "noise", 0.0),
        ("jit", "copies", 0),
        ("sfr_on", "slow", 0.0),
        ("sfr_on", "slow", 1.5),
        ("sfr_on", "repairs", 0),
        ("negmerge", "rates", []),
        ("negmerge", "rates", [0.0]),
        ("amun", "radius", 0.0),
        ("uam", "radius", -1.0),
        ("duck", "temperature", 0.0),
        ("mumis", "epochs", 0),
    ],
)
def test_settings_out_of_range_are_refused(name, key, value):
    with pytest.raises(UserError, match=key):
        changed(name, **{key: value})


def test_sfr_on_masks_weights_that_matter_more_to_forget(tiny_problem, original):
    problem = tiny_problem()
    method = dataclasses.replace(SFR, batch_size=20, saliency=1.5)
    importance = []
    for index in (problem.forget, problem.retain):
        total = [torch.zeros_like(one) for one in original.parameters()]
        pieces = [index[start : start + 20] for start in range(0, len(index), 20)]
        for piece in pieces:
            for one, slope in zip(
                total, slopes(original, cross_entropy(original, problem.task.batch(piece, None)).mean()), strict=True
            ):
                one += slope**2 / len(pieces)
        importance.append(total)
    masks = method.salient(original, problem)
    for mask, gone, kept in zip(masks.values(), *importance, strict=True):
        clear = (gone - 1.5 * kept).abs() > 1e-4 * kept
        assert torch.equal(mask[clear], (gone >= 1.5 * kept)[clear])
    shares = torch.cat([mask.flatten() for mask in masks.values()]).float()
    assert 0.02 < float(shares.mean()) < 0.98


def test_sfr_on_weighs_forgotten_examples_less():
    weights = SFR.coefficients(torch.tensor([0.01, 0.04, 4.0], dtype=torch.float64))
    expected = torch.tensor([10.0, 5.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(weights, 3 * expected / expected.sum())
    assert torch.equal(dataclasses.replace(SFR, power=0.0).coefficients(torch.rand(4)), torch.ones(4))


@pytest.mark.parametrize("slow", [1.0, 0.25])
def test_sfr_on_ascends_in_the_mask_and_repairs_everywhere(slow, tiny_problem, original):
    problem = tiny_problem()
    method = dataclasses.replace(SFR, slow=slow)
    retain, forget = next(iter(problem.batches(problem.retain, problem.forget, size=WHOLE).epoch(0)))
    by_hand = copy.deepcopy(original)
    masks = method.salient(by_hand, problem).values()
    losses = cross_entropy(by_hand, forget)
    weights = losses.detach() ** -0.5
    up = slopes(by_hand, 2.0 * (weights * losses).sum() / weights.sum())
    start = [one.detach().clone() for one in by_hand.parameters()]
    with torch.no_grad():
        for parameter, slope, mask in zip(by_hand.parameters(), up, masks, strict=True):
            parameter += 0.1 * slope * mask
    down = slopes(by_hand, cross_entropy(by_hand, retain).mean())
    model = method(original, problem)
    steps = zip(model.parameters(), by_hand.parameters(), start, down, strict=True)
    for found, parameter, before, slope in steps:
        expected = before + slow * (parameter - 0.1 * slope - before)
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-4)


def test_sfr_on_ends_at_max_steps(tiny_problem, original):
    optimizer = Optimizer(name="sgd", lr=0.01, max_steps=4)
    problem = tiny_problem()
    dataclasses.replace(SFR, batch_size=20, repairs=2, epochs=2, optimizer=optimizer)(original, problem)
    masks = len(problem.forget) + len(problem.retain)
    assert 4 * 15 <= problem.record.examples - masks <= 4 * 20


def test_duck_distance_is_to_the_nearest_centroid_of_another_class():
    torch.manual_seed(0)
    features, centroids = torch.randn(6, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    labels, classes = torch.tensor([0, 2, 3, 1, 2, 0]), torch.tensor([0, 2, 3])
    expected = [
        min(
            1 - float(z @ mu / (z.norm() * mu.norm()))
            for mu, k in zip(centroids, classes.tolist(), strict=True)
            if k != y
        )
        for z, y in zip(features, labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(distances(features, labels, centroids, classes), torch.tensor(expected).double())


def test_duck_moves_forget_features_to_another_class_and_keeps_retain(tiny_problem, original):
    problem = tiny_problem()
    with torch.no_grad():
        centroids, classes = DUCK.centroids(original, problem)
        assert classes.tolist() == [1, 2, 3]
        batch = problem.task.batch(problem.retain[problem.task.data.labels[problem.retain] == 2], None)
        mean = problem.features(original, batch)[1].mean(dim=0)
        torch.testing.assert_close(centroids[1], mean, rtol=1e-4, atol=1e-5)
        forget = problem.task.batch(problem.forget, None)
        before = distances(problem.features(original, forget)[1], forget.labels, centroids, classes).mean()
    model = DUCK(original, problem)
    with torch.no_grad():
        after = distances(problem.features(model, forget)[1], forget.labels, centroids, classes).mean()
    assert after < 0.5 * before
    scores = problem.task.score(model, problem.retain)
    assert (scores.prediction == scores.label).mean() > 0.9


def test_duck_stops_once_the_classes_are_gone(tiny_problem, original):
    problem = tiny_problem()
    method = dataclasses.replace(DUCK, early_stop=True, epochs=60)
    model = method(original, problem)
    scores = problem.task.score(model, problem.forget)
    assert (scores.prediction == scores.label).mean() <= 0.01
    assert len(problem.record.curve) < 60


def test_duck_needs_another_class_to_move_to(tiny_problem, tiny):
    labels = tiny.data.labels
    one = tiny.data.train[labels[tiny.data.train] == 1]
    problem = tiny_problem(forget=one[:5], retain=one[5:])
    assert "another class" in DUCK.check(problem)
    assert DUCK.check(tiny_problem()) is None


def test_jit_loss_is_the_mean_slope_over_noisy_copies(tiny_problem, original, forget):
    torch.manual_seed(0)
    noise = torch.randn(3, *forget.inputs.shape)
    expected = torch.zeros(len(forget), dtype=torch.float64)
    exact = copy.deepcopy(original).double()
    for number, image in enumerate(forget.inputs.double()):
        for copy_ in noise[:, number].double():
            change = exact(image[None]) - exact((image + copy_)[None])
            expected[number] += (change.norm() / copy_.norm()).detach() / 3
    for detach in (False, True):
        found = dataclasses.replace(JIT, detach=detach).slopes(original, tiny_problem(), forget, noise)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_jit_flattens_the_output_around_forget_images(tiny_problem, original, forget):
    problem = tiny_problem()
    torch.manual_seed(0)
    noise = 0.5 * torch.randn(8, *forget.inputs.shape)
    with torch.no_grad():
        before = JIT.slopes(original, problem, forget, noise).mean()
    method = dataclasses.replace(JIT, optimizer=Optimizer(name="sgd", lr=1e-3))
    model = method(original, problem)
    with torch.no_grad():
        after = JIT.slopes(model, problem, forget, noise).mean()
    assert after < before


def test_amun_finds_the_nearest_example_with_another_prediction(tiny_problem, original, forget):
    problem = tiny_problem()
    images, labels = AMUN.nearest(problem, forget)
    predicted = original(images).argmax(dim=1)
    assert torch.equal(predicted, labels)
    assert (labels != forget.labels).all()
    far = 0.25 * (images - forget.inputs).flatten(1).norm(dim=1)  # the data set's std: from normalised to pixels
    needed = torch.zeros_like(labels)
    for doublings in range(1, 8):
        fewer, still = dataclasses.replace(AMUN, doublings=doublings).nearest(problem, forget)
        assert ((far <= 0.1 * 2 ** (doublings - 1) + 1e-4) | (still == forget.labels)).all()
        solved = still != forget.labels
        assert torch.equal(fewer[solved], images[solved])
        needed += (~solved).int()
    assert needed.float().mean() > 0.5


def test_amun_trains_on_wrong_labels_and_keeps_retain(tiny_problem, original, forget):
    problem = tiny_problem()
    before = cross_entropy(original, forget).mean()
    model = dataclasses.replace(AMUN, epochs=3)(original, problem)
    assert cross_entropy(model, forget).mean() > before + 0.1
    scores = problem.task.score(model, problem.retain)
    assert (scores.prediction == scores.label).mean() > 0.9


def test_uam_with_radius_zero_is_finetune(tiny_problem, original):
    common = {"epochs": 1, "batch_size": 32, "batch_norm": "train", "optimizer": SGD}
    expected = Finetune(**common)(copy.deepcopy(original), tiny_problem())
    assert same_weights(Uam(**common, ascent_size=32, radius=0.0, anneal=1.0)(original, tiny_problem()), expected)


def test_uam_steps_down_the_retain_gradient_at_moved_weights(tiny_problem, original):
    problem = tiny_problem()
    retain, forget = next(iter(problem.batches(problem.retain, problem.forget, size=WHOLE).epoch(0)))
    start = copy.deepcopy(original)
    up = slopes(start, cross_entropy(start, forget).mean())
    length = math.sqrt(sum(float((slope.double() ** 2).sum()) for slope in up))
    moved = copy.deepcopy(original)
    with torch.no_grad():
        for parameter, slope in zip(moved.parameters(), up, strict=True):
            parameter += 0.7 * slope / length
    down = slopes(moved, cross_entropy(moved, retain).mean())
    method = Uam(
        epochs=1, batch_size=WHOLE, batch_norm="frozen", ascent_size=WHOLE, radius=0.7, anneal=0.5, optimizer=PLAIN
    )  # fmt: skip
    assert [method.radius_at(share) for share in (0.0, 0.25, 0.5, 0.9)] == pytest.approx([0.7, 0.35, 0.0, 0.0])
    for found, before, slope in zip(method(original, problem).parameters(), start.parameters(), down, strict=True):
        torch.testing.assert_close(found, before - 0.1 * slope, atol=2e-6, rtol=1e-4)


def test_mumis_loss_and_its_gradient_agree_with_finite_differences(tiny_problem, original, forget):
    some = forget.rows(0, 4)
    drawn = torch.tensor([0.1, 0.5, 0.9, 0.2])  # of the three classes other than 0: the first, second, third, first
    exact = copy.deepcopy(original).double()

    def by_hand():
        """Sum the squared slopes of the logits over the pixels of each image, in float64."""
        total = 0.0
        for image, other in zip(some.inputs.double(), (1, 2, 3, 1), strict=True):
            rows = torch.autograd.functional.jacobian(lambda x: exact(x[None])[0], image).flatten(1)
            total += float((rows[0] ** 2).sum() - (rows[other] ** 2).sum()) / 4
        return total

    loss = MUMIS.sensitivities(original, tiny_problem(), some, drawn).mean()
    assert loss.item() == pytest.approx(by_hand(), rel=1e-4)
    torch.manual_seed(0)
    way = [torch.randn_like(one) / 100 for one in exact.parameters()]
    slope = sum(float((one * step).sum()) for one, step in zip(slopes(original, loss), way, strict=True))
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, step in zip(exact.parameters(), way, strict=True):
                parameter += sign * 1e-4 * step
        values.append(by_hand())
    assert slope == pytest.approx((values[0] - values[1]) / 2e-4, rel=2e-2)


def test_mumis_lowers_the_sensitivity_of_the_label_below_the_others(tiny_problem, original):
    problem = tiny_problem()
    forget = problem.task.batch(problem.forget, None)
    drawn = torch.rand(len(forget), generator=torch.Generator().manual_seed(0))
    before = MUMIS.sensitivities(original, problem, forget, drawn).mean()
    method = dataclasses.replace(MUMIS, optimizer=Optimizer(name="sgd", lr=1e-2, clip_norm=1.0), epochs=2)
    assert MUMIS.sensitivities(method(original, problem), problem, forget, drawn).mean() < before - 1e-3


def test_negmerge_of_one_rate_is_the_task_vector(tiny_problem, original):
    common = {"epochs": 1, "batch_size": 16, "batch_norm": "train", "strength": 0.7, "optimizer": SGD}
    expected = TaskVector(**common)(copy.deepcopy(original), tiny_problem())
    model = Negmerge(**common, rates=(1.0,))(original, tiny_problem())
    for (name, one), other in zip(model.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5, msg=name)


def test_negmerge_keeps_the_mean_where_all_signs_agree():
    merged = Consensus()
    for values in ([1.0, -1.0, 2.0, 0.0, -3.0], [3.0, -2.0, -1.0, 1.0, 3.0], [2.0, -3.0, 1.0, 1.0, -3.0]):
        merged.add({"one": torch.tensor(values)})
    assert torch.equal(merged.mean()["one"], torch.tensor([2.0, -2.0, 0.0, 0.0, 0.0]))


def test_negmerge_leaves_weights_alone_that_the_fine_tunings_disagree_on(tiny_problem, original):
    problem = tiny_problem()
    method = Negmerge(epochs=1, batch_size=8, batch_norm="frozen", rates=(1.0, 20.0), strength=1.0, optimizer=SGD)
    model = method(original, problem)
    pairs = zip(model.parameters(), problem.reference.parameters(), strict=True)
    same = torch.cat([(one == other).flatten() for one, other in pairs]).float().mean()
    assert 0.01 < float(same) < 0.9


def test_a_part_is_found_in_its_batch():
    from unlearnbench.techniques.lookup import places

    whole = Batch(torch.zeros(4, 1), torch.zeros(4), torch.tensor([7, 3, 9, 1]))
    assert places(whole.rows(1, 3), whole).tolist() == [1, 2]
