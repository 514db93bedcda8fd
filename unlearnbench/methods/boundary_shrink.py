"""Boundary shrink: give each forget example the class behind its nearest decision boundary, and train on it.

Chen, Gao, Liu, Peng, Wang: Boundary Unlearning, CVPR 2023, arXiv:2303.11570:

    x' = x + step * sign(gradient of CE(theta_o; x, y) with respect to x),   y' = arg max f(theta_o; x')
    L = mean over forget of CE(theta; x, y')

The original takes this one step (FGSM), on pixels in [0, 1]; a neighbour's pixels stay in that range. Where the step
does not leave the class, y' = y, as in their code: `neighbours` in the run's tables has the share that left. Their code
looks for y' anew each time that it sees an image; ours once, from the image without augmentation, and does not round
the neighbour to 8 bits. Its step of .1 is about .25 of a pixel's range, and not held in the range, because it
normalises images by one mean and deviation and reverses it by others; SalUn's port of it steps by .1, as here.

Batch norm: their code is in training mode on batches of forget examples alone. `frozen` (the default) keeps the
statistics of the original, which such batches would replace with those of the forget set.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class BoundaryShrink:
    """Minimise cross-entropy on forget with the classes of the neighbours that are `step` away."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2023
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    step: Annotated[float, Field(gt=0, le=1)]
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs on the forget set."""

        def loss(forget: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, forget))

        labels = self.labels(problem)
        left = float((labels != problem.task.answers(problem.forget)).mean())
        problem.record.tables["neighbours"] = [{"step": self.step, "left_the_class": left}]
        task = problem.task.answering(problem.forget, labels)
        batches = replace(problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs), task=task)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)

    def labels(self, problem: Problem) -> Index:
        """Return what the original takes the neighbours of the forget set for, (n,)."""
        found = []
        for batch in problem.plain(problem.forget, self.batch_size):
            neighbours = self._neighbours(problem, batch)
            with torch.no_grad():
                found.append(problem.predict(problem.reference, batch, neighbours).logits.argmax(dim=1))
        problem.record.examples += 2 * len(problem.forget)
        labels: Index = torch.cat(found).cpu().numpy()
        return labels

    def _neighbours(self, problem: Problem, batch: Batch) -> Tensor:
        """Return the images one step up the original's loss, (n, c, h, w)."""
        span = problem.task.span
        assert span is not None
        low, high = span
        images = problem.inputs(problem.reference, batch).detach().requires_grad_(True)
        loss = cross_entropy(problem.predict(problem.reference, batch, images))
        (slope,) = torch.autograd.grad(loss.sum(), images)
        return (images.detach() + self.step * (high - low) * slope.sign()).clamp(low, high)
