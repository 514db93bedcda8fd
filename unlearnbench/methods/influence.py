"""Influence unlearning: one Newton step from the original to the minimum of the retain set's loss.

Izzo, Smart, Chaudhuri, Zou: Approximate Data Deletion from Machine Learning Models, AISTATS 2021, arXiv:2002.10077, as
Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu: Model Sparsity Can Simplify Machine Unlearning, NeurIPS 2023,
arXiv:2304.04934, do it: theta + strength H^-1 (grad L_D - grad L_r). L_D and L_r are the mean loss over all and over
retain examples, and H is the empirical Fisher matrix of WoodFisher (Singh, Alistarh, NeurIPS 2020, arXiv:2004.14340),
damping I + 1/N sum g g^T over the gradients g of N retain examples.

`inverse: woodbury` is exact: WoodFisher's recursion adds one example after another, Woodbury's identity all at once,
(v - G^T (N damping I + G G^T)^-1 G v) / damping. `recursion` is that of Jia et al. and of SalUn's code: damping is 1,
and one vector o takes the place of each H_n^-1 g_n. Since o always points along the first example's gradient, only a
part along that is taken off v. It keeps no gradients, and so serves models of any size. Their retain examples are the
first ones in order; ours are drawn.

In evaluation mode, as theirs, and without augmentation; their gradients on CIFAR are of images that are cropped and
mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.techniques.gradients import example_gradients, mean_gradient
from unlearnbench.training.losses import cross_entropy

Slopes = Callable[[Index], Iterator[Tensor]]
"""The gradients of examples at these positions, some at a time, (k, p) each; each call in the same order."""
HELD = 2**28
"""The most numbers in the gradients that the exact inverse holds at once: a gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Influence:
    """Add `strength` times the damped inverse Fisher matrix of some retain examples times a difference of gradients."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    batch_size: Count
    examples: Count
    inverse: Literal["woodbury", "recursion"]
    damping: Positive
    strength: Positive

    def __post_init__(self) -> None:
        if self.inverse == "recursion" and self.damping != 1:
            raise ValueError(
                f"method.damping={self.damping:g} needs method.inverse=woodbury: the recursion's is 1.\n"
                "Try: method.damping=1"
            )

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: the original lacks it, so its gradients are not near 0."""
        if adapter_of(problem.spec) is None:
            return None
        return "influence needs all weights; try model.adapter.r=0, or method=npo"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after the step."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        def slopes(index: Index) -> Iterator[Tensor]:
            for count, parts in example_gradients(model, loss, problem.plain(index, self.batch_size)):
                yield torch.cat([part.reshape(count, -1) for part in parts.values()], dim=1)

        goes, stays = (
            mean_gradient(model, loss, problem.plain(index, self.batch_size))
            for index in (problem.forget, problem.retain)
        )
        everything = len(problem.forget) + len(problem.retain)
        share = len(problem.forget) / everything  # L_D = share L_f + (1 - share) L_r
        vector = share * torch.cat([(goes[name] - stays[name]).flatten() for name in goes])
        seen = problem.sample(problem.retain, self.examples / len(problem.retain))
        problem.record.examples += everything + len(seen)
        move = woodbury(slopes, seen, vector, self.damping) if self.inverse == "woodbury" else recursion(
            slopes, seen, vector
        )  # fmt: skip
        with torch.no_grad():
            for name, part in zip(goes, torch.split(move, [value.numel() for value in goes.values()]), strict=True):
                parameter = model.get_parameter(name)
                parameter.add_(self.strength * part.reshape(parameter.shape))
        return model


def woodbury(slopes: Slopes, index: Index, vector: Tensor, damping: float) -> Tensor:
    """Return (damping I + mean of g g^T)^-1 vector, (p,), over the gradients g of the examples at `index`.

    The gradients are computed once where all fit into HELD numbers; else once more for each share that does.
    """
    count, held = len(index), max(HELD // len(vector), 1)
    parts = [index[start : start + held] for start in range(0, count, held)]
    products = torch.zeros(count, count, dtype=torch.float64, device=vector.device)
    along = torch.zeros(count, dtype=torch.float64, device=vector.device)
    for number, part in enumerate(parts):
        mine = torch.cat(list(slopes(part)))
        rows = slice(number * held, number * held + len(part))
        along[rows] = (mine @ vector).double()
        products[rows, rows] = (mine @ mine.T).double()
        for later, other in enumerate(parts[number + 1 :], number + 1):
            columns = slice(later * held, later * held + len(other))
            products[rows, columns] = torch.cat([mine @ theirs.T for theirs in slopes(other)], dim=1).double()
            products[columns, rows] = products[rows, columns].T
    products.diagonal().add_(count * damping)
    weights: Tensor = torch.linalg.solve(products, along).to(vector.dtype)
    if len(parts) == 1:
        return torch.sub(vector, weights @ mine) / damping
    taken, done = torch.zeros_like(vector), 0
    for part in parts:
        for theirs in slopes(part):
            taken += weights[done : done + len(theirs)] @ theirs
            done += len(theirs)
    return (vector - taken) / damping


def recursion(slopes: Slopes, index: Index, vector: Tensor) -> Tensor:
    """Return the vector after the published recursion over the gradients g of the examples at `index`, (p,).

    o = g_1 and k = vector; then k <- k - (k g) o / (n + o g) and o <- n o / (n + o g) for each further g. As o stays
    along g_1, the products of each g with g_1 and with the vector are all that it needs.
    """
    count, first, products = len(index), None, []
    for some in slopes(index):
        first = some[0].clone() if first is None else first
        products.append(torch.stack([some @ first, some @ vector], dim=1))
    assert first is not None
    taken, length = 0.0, 1.0
    for with_first, with_vector in torch.cat(products)[1:].double().tolist():
        whole = count + length * with_first
        taken += length * (with_vector - taken * with_first) / whole
        length *= count / whole
    return vector - taken * first
