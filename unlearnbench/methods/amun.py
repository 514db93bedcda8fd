"""AMUN: train on the nearest adversarial example of each forget image, with the wrong label that the original gives it.

Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran: Not All Wrong is Bad: Using Adversarial Examples for Unlearning, ICML
2025, arXiv:2503.00917. With x_adv the first point that projected gradient ascent finds within the least radius eps of
eps_0, 2 eps_0, 4 eps_0, ... (L2, pixels in [0, 1]) where the original's prediction is not x's label:

    minimise the mean CE over retain, forget (`with_forget`) and {(x_adv, prediction of the original at x_adv)}

Adversarial examples are of the original's own distribution, so its decision boundary moves near forget images only.
As in the authors' code, a search with a larger radius goes on from where the last one ended, and adversarial examples
are not augmented. An epoch shows everything once, the adversarial examples spread evenly over the batches of the rest,
which are that much larger than `batch_size`. Forget images with their true labels belong to the paper's set; they keep
what whole classes should lose, so the default leaves them out.

Batch norm: `train`, as in the authors' code: each batch mixes all that is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import Count, Positive, Several
from unlearnbench.tasks.kinds import image_task
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Amun:
    """Find an adversarial example of each forget image in steps of a tenth of the radius, then train on all.

    `radius` is the first eps, `steps` the number of steps within one radius, `doublings` the most radii to try.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2025
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    radius: Positive
    steps: Count
    doublings: Count
    with_forget: bool
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where no other class can be predicted."""
        return None if problem.info.has_options else "amun needs two classes; try dataset=fashion"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over retain and the adversarial examples."""
        found = [self.nearest(problem, batch) for batch in problem.plain(problem.forget, self.batch_size)]
        images, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        index = torch.from_numpy(problem.forget).to(images.device)

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        others = np.concatenate([problem.retain, problem.forget]) if self.with_forget else problem.retain
        batches = problem.batches(others, size=self.batch_size, epochs=self.epochs)
        generator = torch.Generator().manual_seed(stage_seed(problem.seed, "adversarial order"))
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for _ in range(self.epochs):
            order = torch.randperm(len(images), generator=generator).to(images.device)
            parts = order.tensor_split(batches.steps_per_epoch)
            for (other,), some in zip(stepper.epoch(batches), parts, strict=False):
                stepper.step(loss, _joined(other, Batch(images[some], labels[some], index[some])))
        return model

    def nearest(self, problem: Problem, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the nearest adversarial examples of a batch, normalised (n, c, h, w), and their predictions (n,).

        An image that is misclassified already is its own; one whose search ends without success stays where it is.
        """
        start = _Pixels(problem).of(batch.inputs)
        now, open_ = start.clone(), torch.arange(len(batch), device=start.device)
        for doubling in range(self.doublings):
            now[open_] = self._search(problem, now[open_], start[open_], batch.labels[open_], self.radius * 2**doubling)
            rows = Batch(_Pixels(problem).normalised(now), batch.labels, batch.index)
            with torch.no_grad():
                predictions = problem.predict(problem.reference, rows).logits.argmax(dim=1)
            (open_,) = (predictions == batch.labels).nonzero(as_tuple=True)
            if not len(open_):
                break
        return rows.inputs, predictions

    def _search(self, problem: Problem, now: Tensor, start: Tensor, labels: Tensor, radius: float) -> Tensor:
        """Return where gradient ascent on the loss gets within the radius; what is wrong already stays."""
        pixels, index = _Pixels(problem), torch.zeros_like(labels)
        for _ in range(self.steps):
            now = now.detach().requires_grad_(True)
            logits = problem.predict(problem.reference, Batch(pixels.normalised(now), labels, index)).logits
            (slope,) = torch.autograd.grad(functional.cross_entropy(logits, labels, reduction="sum"), now)
            problem.record.examples += len(now)
            wrong = _each(logits.argmax(dim=1) != labels, now)
            moved = start + _within(now.detach() + 0.1 * radius * _unit(slope) - start, radius)
            now = torch.where(wrong, now.detach(), moved.clamp(0, 1))
            if bool(wrong.all()):
                break
        return now


class _Pixels:
    """Turns normalised images into pixels in [0, 1], and back."""

    def __init__(self, problem: Problem) -> None:
        task = image_task(problem.task)
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32, device=task.device).view(1, -1, 1, 1)
            for values in (task.dataset.mean, task.dataset.std)
        )

    def of(self, images: Tensor) -> Tensor:
        return images * self.std + self.mean

    def normalised(self, pixels: Tensor) -> Tensor:
        return (pixels - self.mean) / self.std


def _joined(one: Batch, other: Batch) -> Batch:
    pairs = ((one.inputs, other.inputs), (one.labels, other.labels), (one.index, other.index))
    inputs, labels, index = (torch.cat(pair) for pair in pairs)
    return Batch(inputs, labels, index)


def _each(values: Tensor, like: Tensor) -> Tensor:
    """Shape a value per image (n,) as (n, 1, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _unit(change: Tensor) -> Tensor:
    return change / _each(change.flatten(1).norm(dim=1).clamp_min(1e-10), change)


def _within(change: Tensor, radius: float) -> Tensor:
    """Shorten changes (n, ...) to an L2 norm of at most the radius."""
    return change * _each((radius / change.flatten(1).norm(dim=1).clamp_min(1e-10)).clamp_max(1), change)
