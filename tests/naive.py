"""Predictions, losses and steps by the simplest loops: what a method's step is compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Index
from unlearnbench.problem import Problem

LR = 0.05
"""The learning rate of a naive step."""
Rows = list[tuple[Tensor, Tensor]]
"""The logits and labels of each example's supervised rows."""


def learner(problem: Problem) -> nn.Module:
    """Return a copy of the original that can learn."""
    return copy.deepcopy(problem.reference).eval().requires_grad_(True)


def moved(problem: Problem) -> nn.Module:
    """Return a student that has left the original, so that every comparison of the two has a slope."""
    model, generator = learner(problem), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
    return model


def rows_of(problem: Problem, model: nn.Module, index: Index) -> Rows:
    """Return the logits and labels of each supervised row, from the model's own forward pass on one example."""
    found = []
    for place in range(len(index)):
        batch = problem.task.batch(index[place : place + 1], None)
        if problem.info.kind == "image":
            found.append((model(batch.inputs).double(), batch.labels))
        else:
            kept = batch.labels[0, 1:] != -100
            logits = model(input_ids=batch.inputs).logits[0, :-1][kept]
            found.append((logits.double(), batch.labels[0, 1:][kept]))
    return found


def activations(problem: Problem, model: nn.Module, index: Index, layer: str) -> Tensor:
    """Return the layer's output where each row is predicted, by one example at a time through a hook of our own."""
    seen, found = [], []
    handle = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    for place in range(len(index)):
        batch = problem.task.batch(index[place : place + 1], None)
        if problem.info.kind == "image":
            model(batch.inputs)
            found.append(seen[-1].flatten(1))
        else:
            model(input_ids=batch.inputs)
            found.append(seen[-1][0, :-1][batch.labels[0, 1:] != -100])
    handle.remove()
    return torch.cat(found)


def ce(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each row."""
    return -torch.log_softmax(logits, dim=1)[torch.arange(len(labels)), labels]


def mean_ce(problem: Problem, model: nn.Module, index: Index) -> Tensor:
    """Return the mean cross-entropy of all rows of these examples."""
    return torch.cat([ce(*rows) for rows in rows_of(problem, model, index)]).mean()


def summed_ce(problem: Problem, model: nn.Module, index: Index) -> Tensor:
    """Return the cross-entropy of each example's whole answer."""
    return torch.stack([ce(*rows).sum() for rows in rows_of(problem, model, index)])


def kl(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher || student) of each row, from logits; a logit of the teacher may be minus infinity."""
    p = torch.softmax(teacher.detach() / temperature, dim=1)
    logs = torch.log_softmax(student / temperature, dim=1)
    return (p * (p.clamp(min=1e-300).log() - logs)).sum(dim=1)


def kl_rows(problem: Problem, teacher: nn.Module, student: nn.Module, index: Index, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher || student) of all rows of these examples."""
    pairs = zip(rows_of(problem, teacher, index), rows_of(problem, student, index), strict=True)
    return torch.cat([kl(theirs, ours, temperature) for (theirs, _), (ours, _) in pairs])


def descended(start: nn.Module, *terms: Callable[[nn.Module], Tensor]) -> nn.Module:
    """Return the model after one step of plain descent on the sum of the terms, each of which must have a slope."""
    model = copy.deepcopy(start)
    parameters = list(model.parameters())
    found = [torch.autograd.grad(term(model), parameters, allow_unused=True) for term in terms]
    for number, slopes in enumerate(found):
        assert steep(slopes), f"term {number} has no slope: the test would not miss it"
    with torch.no_grad():
        for parameter, *slopes in zip(parameters, *found, strict=True):
            for slope in slopes:
                parameter -= 0 if slope is None else LR * slope
    return model


def steep(slopes: Iterable[Tensor | None]) -> bool:
    """Return whether a step along these slopes moves some weight by far more than `assert_weights` tolerates."""
    return max(float(slope.abs().max()) for slope in slopes if slope is not None) * LR > 1e-4


def assert_weights(found: nn.Module, expected: nn.Module) -> None:
    """Check that two models have the same weights, but for rounding."""
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-4, atol=2e-6)
