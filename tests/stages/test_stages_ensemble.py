"""Shadow ensembles: who is trained on what, and that each model is the one that a training of its own would give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unlearnbench.errors import UserError
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.random import Random
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.workshop import Workshop
from unlearnbench.methods.finetune import Finetune
from unlearnbench.methods.none import Nothing
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.runners.execute import computed
from unlearnbench.stages.ensemble import FORGOTTEN, LEFT_OUT, RETAINED, ensemble
from unlearnbench.stages.shadows import Shadow, heard
from worlds import RECIPE, SGD, synthetic, world

QUICK = RECIPE.__class__(epochs=1, batch_size=32, label_smoothing=0.0, optimizer=SGD)


def here(forget=None):
    dataset = synthetic()
    forget = forget or ByClass(classes=(0,), seed=0)
    return world(dataset, dataset.load(), TinyCNN(checkpoint=None), forget)


def test_every_target_is_left_out_retained_and_forgotten_by_a_third():
    one = here()
    design = ensemble(one, QUICK, models=12, targets=60, together=5, name="ulira")
    assert design.states.shape == (12, len(design.targets)) and len(design.targets) == 60
    for state in (LEFT_OUT, RETAINED, FORGOTTEN):
        assert ((design.states == state).sum(axis=0) == 4).all()
    assert np.isin(design.targets, one.splits.forget).sum() == 30
    assert len({tuple(column) for column in design.states.T}) > 20
    assert [list(chunk.numbers) for chunk in design.chunks()] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_a_model_is_trained_on_what_it_retains_and_forgets():
    one = here()
    design = ensemble(one, QUICK, models=9, targets=60, together=9, name="ulira")
    always = np.setdiff1d(one.all, design.targets)
    for number in range(9):
        splits, states = design.member(number).splits, design.states[number]
        assert not np.intersect1d(splits.retain, splits.forget).size
        assert np.isin(always, splits.retain).all()
        assert np.array_equal(splits.forget, design.targets[states == FORGOTTEN])
        assert not np.isin(design.targets[states == LEFT_OUT], design.training(number).index).any()


def test_copies_of_one_row_go_together():
    dataset = synthetic()
    data = dataset.load()
    object.__setattr__(data, "unit", data.unit // 3)
    one = world(dataset, data, TinyCNN(checkpoint=None), Random(fraction=0.2, count=None, seed=0, whole_pairs=True))
    design = ensemble(one, QUICK, models=9, targets=60, together=9, name="ulira")
    unit = data.unit[design.targets]
    for group in np.unique(unit):
        assert (design.states[:, unit == group][:, 0] == design.states[:, unit == group].T).all()
        assert np.isin(one.all[data.unit[one.all] == group], design.targets).all()


def test_too_few_models_are_refused():
    with pytest.raises(UserError, match=r"eval.lira.models=8 is too few"):
        ensemble(here(), QUICK, models=8, targets=60, together=8, name="lira")


def test_methods_share_the_trainings_and_no_unlearning():
    design = ensemble(here(), QUICK, models=9, targets=60, together=9, name="ulira")
    nothing, tuned = (design.unlearned(one)[0] for one in (Nothing(), _finetune()))
    assert nothing.key != tuned.key and nothing.shadows.key == tuned.shadows.key


def test_a_shadow_is_the_model_of_its_own_training(tmp_path):
    design = ensemble(here(), QUICK, models=9, targets=60, together=9, name="ulira")
    workshop = Workshop(Cache(tmp_path))
    shadows, forgotten = design.chunks()[0], design.unlearned(Nothing())[0]
    computed(shadows, workshop, "cpu")
    alone = design.training(4)
    computed(alone, workshop, "cpu")
    built, expected = Shadow(shadows, 4).build(workshop), workshop.model(alone)
    assert all(torch.equal(value, built.state_dict()[name]) for name, value in expected.state_dict().items())
    computed(forgotten, workshop, "cpu")
    before, after = heard([shadows], workshop), heard([forgotten], workshop)
    assert before.confidence.shape == (9, 60) and np.array_equal(before.confidence, after.confidence)
    assert np.array_equal(before.right, after.right) and set(np.unique(before.right)) <= {0.0, 1.0}


def _finetune():
    return Finetune(epochs=1, batch_size=32, batch_norm="train", optimizer=SGD)
