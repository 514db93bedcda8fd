"""What a method sees: which examples of a batch must go, at no cost for each step."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("kind", ["image", "text"])
def test_is_forget_holds_for_every_position_that_a_method_can_see(kind, tiny_problem, text_problem):
    problem = tiny_problem() if kind == "image" else text_problem()
    places = [problem.retain, problem.forget, problem.validation]
    if problem.twins is not None:
        places.append(problem.corrected(problem.forget))
    index = np.random.default_rng(0).permutation(np.concatenate(places))
    found = problem.is_forget(problem.task.batch(index, None))
    assert found.dtype == torch.bool and found.tolist() == np.isin(index, problem.forget).tolist()


def test_is_forget_of_an_empty_forget_set_is_false(tiny_problem):
    problem = tiny_problem(forget=tiny_problem().retain[:0])
    assert not problem.is_forget(problem.task.batch(problem.retain, None)).any()


def test_is_forget_moves_nothing_to_the_device_at_a_step(tiny_problem, monkeypatch):
    problem = tiny_problem()
    batch = problem.task.batch(problem.retain, None)
    problem.is_forget(batch)

    def refuse(*_anything):
        raise AssertionError("something is copied at each step")

    for name in ("from_numpy", "tensor", "as_tensor", "isin"):
        monkeypatch.setattr(torch, name, refuse)
    monkeypatch.setattr(torch.Tensor, "to", refuse)
    assert not problem.is_forget(batch).any()
