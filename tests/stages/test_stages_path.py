"""Looking at a model while a method trains it: which steps, which models, and that nothing changes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from unlearnbench.models.adapter import Adapter, AdapterOff
from unlearnbench.models.start import trainable
from unlearnbench.models.wrapper import inner
from unlearnbench.randomness import seeded
from unlearnbench.request.compose import compose
from unlearnbench.request.config import build
from unlearnbench.stages.path import between, fingerprint
from unlearnbench.stages.unlearn import applied
from unlearnbench.training.watch import Watch
from worlds import llama, same_weights

DROPPING = Adapter(r=4, alpha=8, dropout=0.3, targets=("q_proj", "v_proj"))


def settings(name, *words):
    request = compose([f"method={name}", *words]).request
    return build(request.config["method"], "method")


def watched(method, model, make, at):
    """Apply a method to a copy of the model; return the result, the steps counted and the looks."""
    looks, problem = [], None

    def look(seen, steps, examples):
        looks.append((steps, examples, problem.task.score(seen, problem.forget[:20])))

    student = copy.deepcopy(model)
    watch = Watch(type(inner(student)), at, look)
    problem = make(watch=watch)
    return applied(method, student, problem), watch.steps, looks


@pytest.mark.parametrize("name", ["scrub", "unsir", "grad_diff", "retrain", "msg"])
def test_looking_changes_no_bit_of_the_images_model(name, original, tiny_problem):
    method = settings(name, "dataset=synthetic", "model=tiny_cnn")
    unseen, steps, none = watched(method, original, tiny_problem, ())
    seen, again, looks = watched(method, original, tiny_problem, range(1, 200))
    assert same_weights(unseen, seen) and steps == again == len(looks) and not none
    assert [one[0] for one in looks] == list(range(1, steps + 1))
    examples = [one[1] for one in looks]
    assert examples == sorted(examples) and examples[0] > 0


def test_noise_is_not_counted_as_steps_on_the_model(original, tiny_problem):
    method = settings("unsir", "dataset=synthetic", "model=tiny_cnn")
    few = watched(replace(method, noise_steps=1), original, tiny_problem, ())[1]
    many = watched(replace(method, noise_steps=30), original, tiny_problem, ())[1]
    assert 0 < few == many


@pytest.mark.parametrize("adapter", [False, True])
def test_looking_changes_no_bit_of_a_language_model_or_its_adapter_that_drops(adapter, tiny_text, text_problem):
    method = replace(settings("npo", "dataset=clinical_notes", "model=llama_tiny"), epochs=1, batch_size=16)
    found = []
    for at in ((), (1, 2)):
        model, make = copy.deepcopy(tiny_text.original), text_problem
        if adapter:
            with seeded("adapter"):
                model = trainable(llama(DROPPING), model)
        watch = Watch(type(inner(model)), at, lambda seen, *_: tiny_text.task.score(seen, tiny_text.data.test[:10]))
        changes = {"spec": llama(DROPPING), "reference": AdapterOff(model)} if adapter else {}
        found.append(applied(method, model, make(watch=watch, **changes)))
        assert watch.steps >= 2
    assert same_weights(*found)


def test_a_prompt_in_front_is_seen_with_the_model(tiny_text, text_problem):
    method = replace(settings("soft_prompt", "dataset=clinical_notes", "model=llama_tiny"), epochs=1)
    kinds = set()
    student = copy.deepcopy(tiny_text.original)
    watch = Watch(type(student), range(100), lambda seen, *_: kinds.add(type(seen).__name__))
    applied(method, student, text_problem(watch=watch))
    assert watch.steps and kinds == {"SoftPrompt"}


def test_points_are_spread_evenly_or_by_a_factor():
    assert between(80, 8, "even") == [10, 20, 30, 40, 50, 60, 70]
    assert between(256, 8, "log") == [2, 4, 8, 16, 32, 64, 128]
    assert between(3, 8, "even") == [1, 2] and between(1, 8, "even") == [] and between(0, 8, "log") == []


def test_a_fingerprint_tells_one_bit(original):
    state = original.state_dict()
    first = fingerprint(state)
    assert fingerprint({name: tensor.clone() for name, tensor in state.items()}) == first
    name = next(iter(state))
    state[name].view(-1)[0] = state[name].view(-1)[0].nextafter(state[name].new_tensor(9.0))
    assert fingerprint(state) != first
