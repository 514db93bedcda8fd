"""Ensembles: how answers are joined, and that one is kept, built again, written out and scored like any model."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearnbench.errors import UserError
from unlearnbench.machine.precision import Precision
from unlearnbench.models import masks, rebuilt, saved, weights
from unlearnbench.models.ensemble import Ensemble, everywhere, joined, members
from unlearnbench.tasks.image import ImageTask
from unlearnbench.training.optimizer import Optimizer, groups
from worlds import same_weights


def two(model):
    """A model and another with noise on its weights."""
    other = copy.deepcopy(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return [copy.deepcopy(model), other]


def test_the_mean_is_of_probabilities():
    torch.manual_seed(0)
    logits = [torch.randn(5, 3, dtype=torch.float64) * 9 for _ in range(4)]
    expected = torch.stack([one.softmax(1) for one in logits]).mean(0).log()
    torch.testing.assert_close(joined(logits, "mean").double(), expected, atol=1e-4, rtol=1e-4)


def test_a_vote_is_the_majority_and_the_mean_decides_between_equals():
    one, two_, none = torch.tensor([[5.0, 0, 0]]), torch.tensor([[0.0, 9, 0]]), torch.tensor([[0.0, 0, 200]])
    assert joined([one, one, none], "vote").argmax() == 0 != joined([one, one, none], "mean").argmax() + 1
    assert joined([one, two_], "vote").argmax() == 1
    shares = joined([one, one, none], "vote").exp()
    assert shares.sum() == pytest.approx(1) and (shares[0, 0] - shares[0, 2]).item() == pytest.approx(0.25, abs=0.1)
    assert torch.isfinite(joined([none, none], "vote")).all()


@pytest.mark.parametrize("aggregate", ["mean", "vote"])
def test_what_is_kept_of_an_ensemble_builds_it_again(tiny, aggregate, tmp_path):
    whole = Ensemble(two(tiny.original), aggregate)
    state = weights.state_of(whole)
    again = weights.restore(tiny.spec.build(tiny.data.info), state)
    assert isinstance(again, Ensemble) and again.aggregate == aggregate and same_weights(whole, again)
    assert weights.differ(whole, tiny.original) and not weights.differ(whole, again)
    save_file({name: one.contiguous() for name, one in state.items()}, tmp_path / "model.safetensors")
    facts = {
        "model": {"_target_": "unlearnbench.models.tiny.TinyCNN", "checkpoint": None},
        "data": {"classes": list(tiny.data.info.classes), "shape": list(tiny.data.info.shape), "kind": "image"},
    }
    (tmp_path / "config.json").write_text(json.dumps(facts))
    assert same_weights(rebuilt.read(tmp_path, facts), whole)


def test_members_that_are_missing_are_an_error_and_no_crash(tiny):
    state = weights.state_of(Ensemble(two(tiny.original), "mean"))
    lacking = {name: one for name, one in state.items() if not name.startswith("ensemble_members.0.")}
    with pytest.raises(KeyError, match="numbered from 0"):
        weights.restore(tiny.spec.build(tiny.data.info), lacking)


def test_scores_of_an_ensemble_are_the_mean_of_its_members(tiny):
    one, other = two(tiny.original)
    index = tiny.splits.validation
    found = tiny.task.score(Ensemble([one, other], "mean"), index).probabilities
    each = [tiny.task.score(model, index).probabilities for model in (one, other)]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=1e-6)


def test_the_classifiers_of_all_members_are_computed_in_full_precision(tiny):
    """Scores in bf16 differ from the head's in float32: with both heads exact, each member's are what it has alone."""
    task = ImageTask(tiny.data, tiny.dataset, Precision("cpu", bf16=True), tiny.spec.parts().head, 64)
    one, other = two(tiny.original)
    index = tiny.splits.validation
    each = [task.score(model, index).probabilities for model in (one, other)]
    found = task.score(Ensemble([one, other], "mean"), index).probabilities
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, atol=1e-6)


def test_a_mask_on_the_classifier_survives_its_computation_in_full_precision(tiny):
    task = ImageTask(tiny.data, tiny.dataset, Precision("cpu", bf16=True), tiny.spec.parts().head, 64)
    model = copy.deepcopy(tiny.original)
    masks.attach(model, "linear", torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert (task.score(model, tiny.splits.validation).logits[:, 0] == 0).all()


def test_a_classifier_has_its_own_rate_in_every_member(tiny):
    whole = Ensemble(two(tiny.original), "mean")
    found = groups(whole, Optimizer(name="sgd", lr=0.1, head_lr=1.0), "linear")
    assert [len(group["params"]) for group in found] == [2 * 8, 2 * 2]
    assert len(everywhere(whole, "linear")) == 2 and members(tiny.original) == [tiny.original]


def test_a_text_ensemble_is_scored_and_writes_answers(tiny_text, monkeypatch):
    whole, index = Ensemble(two(tiny_text.original), "mean"), tiny_text.splits.validation[:6]
    same = Ensemble([copy.deepcopy(tiny_text.original) for _ in range(2)], "mean")
    monkeypatch.setattr(tiny_text.task, "generate", 4)
    alone, twice = (tiny_text.task.score(model, index) for model in (tiny_text.original, same))
    np.testing.assert_allclose(alone.logits, twice.logits, atol=1e-4)
    assert alone.extras["generated"].tolist() == twice.extras["generated"].tolist()
    assert not np.allclose(tiny_text.task.score(whole, index).logits, alone.logits)


def test_a_text_ensemble_is_written_and_read(tiny_text, tmp_path):
    whole = Ensemble(two(tiny_text.original), "vote").eval()
    saved.write(tmp_path / "model", whole, tiny_text.task, tiny_text.spec, None, None, tmp_path)
    found = saved.read(tmp_path / "model")
    assert isinstance(found, Ensemble) and found.aggregate == "vote" and same_weights(found, whole)
    held = load_file(tmp_path / "model" / "member_1" / "model.safetensors")
    assert all(torch.equal(value, members(whole)[1].state_dict()[name]) for name, value in held.items())


@pytest.mark.parametrize("facts", [{"members": 3, "aggregate": "mean"}, {"members": 2, "aggregate": "sum"}, "two"])
def test_a_folder_that_does_not_hold_what_it_says_is_refused(tiny_text, tmp_path, facts):
    whole = Ensemble(two(tiny_text.original), "mean")
    saved.write(tmp_path / "model", whole, tiny_text.task, tiny_text.spec, None, None, tmp_path)
    (tmp_path / "model" / "config.json").write_text(json.dumps({"ensemble": facts}))
    with pytest.raises(UserError):
        saved.read(tmp_path / "model")
