"""Facts about sisa, which retrains only what saw a forget row, and about the baseline output_mask."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from unlearnbench.methods import sisa
from unlearnbench.methods.output_mask import LOWEST, OutputMask
from unlearnbench.methods.sisa import Sisa, first_with
from unlearnbench.models.ensemble import Ensemble, members
from unlearnbench.models.tiny import TinyCNN, TinyResNet
from unlearnbench.models.vgg import VGG16
from unlearnbench.randomness import stage_seed
from unlearnbench.request.config import build, config_root
from unlearnbench.tasks.image import ImageTask
from worlds import CPU, RECIPE, image_info, same_weights, synthetic

SISA = Sisa(shards=3, slices=2, aggregate="mean")
SHORT = replace(RECIPE, epochs=2)


def dealt(problem):
    return SISA._dealt(problem)


def forgetting(make, *wanted, **changes):
    """Return a problem whose forget rows are the first of each wanted (shard, slice)."""
    whole = make(recipe=SHORT, **changes)
    rows = np.union1d(whole.retain, whole.forget)
    shards = dealt(whole)
    forget = np.sort(np.array([shards[shard][piece][0] for shard, piece in wanted], dtype=np.int64))
    return replace(whole, forget=forget, retain=np.setdiff1d(rows, forget))


def trained_on(problem, monkeypatch, model, method=SISA):
    """Run sisa; return its ensemble and the rows of each of its trainings, in order."""
    seen = []
    real = sisa.fit

    def watched(model, task, index, *rest, **named):
        seen.append(set(index.tolist()))
        return real(model, task, index, *rest, **named)

    monkeypatch.setattr(sisa, "fit", watched)
    return method(model, problem), seen


def test_the_deal_is_a_partition_that_knows_nothing_of_the_request(tiny_problem):
    shards = dealt(tiny_problem())
    rows = np.concatenate([piece for shard in shards for piece in shard])
    assert sorted(rows.tolist()) == np.union1d(tiny_problem().retain, tiny_problem().forget).tolist()
    assert [len(shard) for shard in shards] == [2, 2, 2]
    sizes = [len(piece) for shard in shards for piece in shard]
    assert max(sizes) <= 240 / 6 and min(sizes) > 0.8 * sum(sizes) / 6  # 24 of the 240 are validation rows
    other = dealt(forgetting(tiny_problem, (1, 0)))
    assert all(
        np.array_equal(a, b) for one, two in zip(shards, other, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_sisa_retrains_only_the_shards_that_hold_forget_rows(tiny_problem, original):
    one, other = forgetting(tiny_problem, (1, 0)), forgetting(tiny_problem, (2, 1))
    first, second = (members(SISA(copy.deepcopy(original), problem)) for problem in (one, other))
    assert [same_weights(a, b) for a, b in zip(first, second, strict=True)] == [True, False, False]
    rows = one.record.tables["shards"]
    assert [row["slices_retrained"] for row in rows] == [0.0, 2.0, 0.0]
    assert [row["forget_rows"] for row in rows] == [0.0, 1.0, 0.0]
    assert [row["slices_retrained"] for row in other.record.tables["shards"]] == [0.0, 0.0, 1.0]


def test_a_request_in_the_last_slice_retrains_that_slice_alone(tiny_problem, original, monkeypatch):
    problem = forgetting(tiny_problem, (2, 1))
    shards = dealt(problem)
    _, seen = trained_on(problem, monkeypatch, original)
    assert len(seen) == 3 * 2 + 1
    assert seen[-1] == set(np.concatenate(shards[2]).tolist()) - set(problem.forget.tolist())
    assert problem.record.examples == problem.record.tables["shards"][2]["examples"]
    assert problem.record.examples <= 2 * len(seen[-1])


def test_no_model_of_the_answer_was_trained_on_a_forget_row(tiny_problem, original, monkeypatch):
    problem = forgetting(tiny_problem, (0, 1), (2, 0))
    whole, seen = trained_on(problem, monkeypatch, original)
    forget = set(problem.forget.tolist())
    assert len(seen) == 6 + 1 + 2 and not any(rows & forget for rows in seen[6:])
    assert len(members(whole)) == 3


def test_the_retrained_shard_is_what_training_without_the_rows_gives(tiny_problem, original):
    """A forget row in slice 2: its shard equals one that never held it, as slice 1 and the seeds are the same."""
    problem = forgetting(tiny_problem, (1, 1))
    found = members(SISA(original, problem))[1]
    slices = [np.setdiff1d(one, problem.forget) for one in dealt(problem)[1]]
    fresh = replace(problem, seed=stage_seed(problem.seed, "shard", 1)).start()
    expected = SISA._trained(problem, 1, slices, range(2), fresh, problem.record)
    assert same_weights(found, expected)


def test_a_second_request_retrains_only_the_shards_that_hold_its_rows(tiny_problem, original, monkeypatch):
    """Shard 0 saw the first request, shard 1 sees the second, whose row is in its last slice: one training."""
    one = forgetting(tiny_problem, (0, 0))
    first = SISA(original, one)
    rows = {number: set(np.concatenate(slices).tolist()) for number, slices in enumerate(dealt(one))}
    forget = dealt(one)[1][1][:1]
    two = tiny_problem(recipe=SHORT, forget=forget, retain=np.setdiff1d(one.retain, forget))
    left = [set(np.concatenate(slices).tolist()) for slices in dealt(two)]
    assert left == [rows[0] - set(one.forget.tolist()), rows[1], rows[2]]
    second, seen = trained_on(two, monkeypatch, copy.deepcopy(first))
    assert seen == [set(dealt(two)[1][0].tolist()), rows[1] - set(forget.tolist())]
    kept = [same_weights(a, b) for a, b in zip(members(first), members(second), strict=True)]
    assert kept == [True, False, True]
    assert [row["slices_retrained"] for row in two.record.tables["shards"]] == [0.0, 1.0, 0.0]
    assert two.record.examples == two.record.tables["shards"][1]["examples"]


def test_requests_one_after_another_end_where_one_for_both_ends(tiny_problem, original):
    """A shard that two requests touch, its earlier slice last, equals one that never held either row."""
    one = forgetting(tiny_problem, (1, 1))
    first = SISA(copy.deepcopy(original), one)
    forget = dealt(one)[1][0][:1]
    two = tiny_problem(recipe=SHORT, forget=forget, retain=np.setdiff1d(one.retain, forget))
    both = tiny_problem(recipe=SHORT, forget=np.union1d(one.forget, forget), retain=two.retain)
    found, expected = members(SISA(first, two)), members(SISA(copy.deepcopy(original), both))
    assert all(same_weights(a, b) for a, b in zip(found, expected, strict=True))


def test_preparation_is_counted_apart_from_the_request(tiny_problem, original):
    problem = forgetting(tiny_problem, (0, 0))
    SISA(original, problem)
    (prepared,) = problem.record.tables["preparation"]
    assert prepared["seconds"] == problem.record.preparation_seconds > 0
    rows = len(problem.retain) + 1
    assert prepared["examples"] == pytest.approx(2 * rows, rel=0.1)
    assert problem.record.examples == pytest.approx(2 * rows / 3, rel=0.1)


def test_steps_of_all_slices_add_up_to_the_recipe():
    for epochs, slices in ((6, 1), (6, 4), (2, 7), (1, 3)):
        method = Sisa(shards=1, slices=slices, aggregate="mean")
        recipe = replace(RECIPE, epochs=epochs, batch_size=10)
        steps = [method._recipe(recipe, 1000 * (step + 1)) for step in range(slices)]
        assert all(one.epochs >= one.optimizer.max_steps / (100 * (step + 1)) for step, one in enumerate(steps))
        assert sum(one.optimizer.max_steps for one in steps) == pytest.approx(epochs * 100 * slices, abs=slices)


def test_sisa_says_where_it_cannot_deal(tiny_problem):
    assert "method.shards=2" in replace(SISA, shards=200).check(tiny_problem())
    assert SISA.check(tiny_problem()) is None


def test_the_papers_shards_and_slices_answer_a_later_request(tiny_problem, monkeypatch):
    """An ensemble is left from an earlier one, so that one shard is trained: all of them are a thousand trainings."""
    dataset, spec = synthetic(train=2240, test=20, side=4), TinyCNN(checkpoint=None)
    data = dataset.load()
    task = ImageTask(data, dataset, CPU, spec.parts().head, 64)
    whole = tiny_problem(
        task=task, info=data.info, retain=data.train[1:], forget=data.train[:1], validation=data.validation,
        recipe=replace(RECIPE, epochs=1),
    )  # fmt: skip
    paper = build(dict(OmegaConf.to_container(OmegaConf.load(config_root() / "method" / "sisa_paper.yaml"))), "method")
    assert (paper.shards, paper.slices, paper.aggregate) == (20, 50, "vote") and paper.check(whole) is None
    forget = set(whole.forget.tolist())
    firsts = [first_with(forget, slices) for slices in paper._dealt(whole)]
    (shard,) = (number for number, first in enumerate(firsts) if first is not None)
    left = Ensemble([copy.deepcopy(whole.reference).requires_grad_(True) for _ in range(20)], "vote")
    found, seen = trained_on(whole, monkeypatch, copy.deepcopy(left), paper)
    kept = [same_weights(a, b) for a, b in zip(members(left), members(found), strict=True)]
    assert kept == [number != shard for number in range(20)] and found.aggregate == "vote"
    assert len(seen) == 50 and not any(rows & forget for rows in seen)
    assert seen[-1] == set(np.concatenate(paper._dealt(whole)[shard]).tolist()) - forget
    assert whole.record.tables["shards"][shard]["slices_retrained"] == 50 - firsts[shard]
    assert np.isfinite(task.score(found, whole.validation).logits).all()


def test_first_with_by_hand():
    slices = [np.array([3, 1]), np.array([2]), np.array([9, 4])]
    assert [first_with(rows, slices) for rows in ({9, 2}, {3}, {7}, set())] == [1, 0, None, None]


def test_output_mask_never_predicts_the_class_and_changes_no_other_logit(tiny_problem, original):
    problem = tiny_problem()
    index = np.concatenate([problem.forget, problem.retain])
    before = problem.task.score(original, index)
    assert (before.prediction == 0).any()
    model = OutputMask()(original, problem)
    after = problem.task.score(model, index)
    assert (after.prediction != 0).all() and (after.logits[:, 0] == LOWEST).all()
    assert np.array_equal(after.logits[:, 1:], before.logits[:, 1:])
    assert np.isfinite(after.loss).all()


def test_output_mask_wants_whole_classes(tiny_problem):
    whole = tiny_problem()
    part = replace(whole, forget=whole.forget[:5], retain=np.union1d(whole.retain, whole.forget[5:]))
    assert "try forget=class" in OutputMask().check(part)
    assert OutputMask().check(whole) is None


def test_output_mask_wants_a_bias(tiny_problem):
    with torch.device("meta"):
        model = TinyResNet(depth=8, checkpoint=None).build(tiny_problem().info)
        model.linear = torch.nn.Linear(64, 4, bias=False)
    assert "with a bias" in OutputMask().check(tiny_problem(reference=model))


def test_output_mask_finds_the_last_layer_of_a_classifier_with_several(tiny_problem):
    spec = VGG16(batch_norm=False, dropout=0.0, pretrained=False, checkpoint=None, base=None)
    with torch.device("meta"):
        model = spec.build(image_info(32, 1, 4))
    assert OutputMask().check(tiny_problem(spec=spec, reference=model)) is None
