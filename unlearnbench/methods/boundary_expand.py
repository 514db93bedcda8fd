"""Boundary expand: add a shadow class, teach it the forget set, and take it away again.

Chen, Gao, Liu, Peng, Wang: Boundary Unlearning, CVPR 2023, arXiv:2303.11570:

    L = mean over forget of CE(theta; x, c), c the added class

The added output's weights start as their code starts them, normal with Glorot's variance 2 / (d + c + 1), and its bias
at 0; the outputs of the other classes are the original's. The returned model has the original number of outputs.

Batch norm: their code is in training mode on batches of forget examples alone. `frozen` (the default) keeps the
statistics of the original, which such batches would replace with those of the forget set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import Count
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class BoundaryExpand:
    """Minimise cross-entropy on forget with a class of its own, which is dropped at the end."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2023
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return why not where the classifier is no linear layer."""
        if _last(problem.reference, problem) is not None:
            return None
        return "boundary_expand adds an output to a linear classifier, and this model has none; try boundary_shrink"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs on the forget set, with its own outputs."""

        def loss(forget: Batch) -> Tensor:
            predictions = problem.predict(model, forget)
            shadow = torch.full_like(predictions.labels, len(problem.info.classes))
            return cross_entropy(replace(predictions, labels=shadow))

        last = _last(model, problem)
        assert last is not None
        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        with seeded(problem.seed, "shadow"), wider(last):
            return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)


@contextmanager
def wider(linear: nn.Linear) -> Iterator[None]:
    """Give a linear layer (d to c) one more output inside the block, with random weights."""
    row = torch.empty(1, linear.in_features)  # on the CPU: each device draws other numbers
    row.normal_(std=(2 / (linear.in_features + linear.out_features + 1)) ** 0.5)
    weight, bias = linear.weight.detach(), linear.bias.detach() if linear.bias is not None else None
    linear.weight = nn.Parameter(torch.cat([weight, row.to(weight)]))
    linear.bias = None if bias is None else nn.Parameter(torch.cat([bias, bias.new_zeros(1)]))
    linear.out_features += 1
    try:
        yield
    finally:
        linear.out_features -= 1
        linear.weight = nn.Parameter(linear.weight.detach()[:-1].clone())
        linear.bias = None if bias is None else nn.Parameter(linear.bias.detach()[:-1].clone())


def _last(model: nn.Module, problem: Problem) -> nn.Linear | None:
    """Return the layer that puts out the classes: the head, or the last layer in it."""
    last = list(model.get_submodule(problem.parts.head).modules())[-1]
    return last if isinstance(last, nn.Linear) and last.out_features == len(problem.info.classes) else None
