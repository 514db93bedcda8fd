"""DUCK: pull each forget example's features to the nearest centroid of another class, and train on retain beside it.

Cotogni, Bonato, Sabetta, Pelosin, Nicolosi: DUCK: Distance-based Unlearning via Centroid Kinematics (2023),
arXiv:2312.02052. With z the features that the classifier gets and mu_k the mean z of retain rows of class k, by the
original:

    L = a * mean_forget [1 - cos(z, mu*)] + b * CE(logits / T) on retain,  mu* = the nearest mu_k with k != label

Training ends early, after an epoch in which the forget set is as unknown as it should be: 1 % where its classes have
gone from retain, else the original's accuracy on validation data (the authors' code: on test data). The authors' code
looks once an epoch, which has some 40 retain batches for each forget batch, so it can stop later. It chooses mu* in its
first epoch, and then gives every forget batch the choices of the first one; ours chooses at each step, as an example
that moves to the nearest centroid stays nearest to it. Their centroids are means over the first 50 retain batches, ours
over all; their learning rate is halved after 25 and 40 epochs, ours follows `optimizer`. We leave out the code's second
phase, on retain with a tenth of the forget loss, which the paper does not have. A row is an image, or a
token of an answer.

Batch norm: `train`, as in the authors' code, which runs forget and retain batches one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch, Index
from unlearnbench.models.modes import BatchNorm, evaluating
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Weight
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer

GONE = 0.01
"""The forget accuracy at which whole classes count as forgotten."""


@dataclass(frozen=True, kw_only=True)
class Duck:
    """Minimise forget_weight * cosine distance to the nearest wrong centroid + retain_weight * CE on retain."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "representation"
    year: ClassVar[int] = 2023
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    forget_weight: Weight
    retain_weight: Weight
    temperature: Positive
    early_stop: bool
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where a forget image has no other class to go to."""
        if problem.info.fewest_classes == 1:
            return None
        kept, gone = (set(problem.task.answers(index).tolist()) for index in (problem.retain, problem.forget))
        stuck = any(not kept - {label} for label in gone)
        return "duck needs another class to move to; try a forget set that leaves two classes" if stuck else None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""
        with evaluating(model), torch.no_grad():
            centroids, classes = self.centroids(model, problem)

        def loss(forget: Batch, retain: Batch) -> Losses:
            rows, features = problem.features(model, forget)
            away = rows.averaged(distances(features, rows.labels, centroids, classes))
            kept = problem.predict(model, retain)
            kept = replace(kept, logits=kept.logits / self.temperature)
            return self.forget_weight * away, self.retain_weight * cross_entropy(kept)

        batches = problem.batches(problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        target = self._target(model, problem, classes) if self.early_stop else -1.0
        for _ in range(self.epochs):
            stepper.descend(loss, batches)
            if self.early_stop and self._accuracy(model, problem, problem.forget) <= target:
                break
        return model

    def centroids(self, model: nn.Module, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return the mean features of the retain rows of each class that they have, (k, d), and those classes, (k,)."""
        total = count = torch.empty(0)
        for batch in problem.plain(problem.retain, self.batch_size):
            rows, features = problem.features(model, batch)
            if not total.numel():
                total = features.new_zeros(rows.logits.shape[1], features.shape[1], dtype=torch.float64)
                count = total.new_zeros(len(total))
            total = total.index_add(0, rows.labels, features.double())
            count = count.index_add(0, rows.labels, torch.ones_like(rows.labels, dtype=torch.float64))
        problem.record.examples += len(problem.retain)
        (classes,) = count.nonzero(as_tuple=True)
        return (total[classes] / count[classes, None]).float(), classes

    def _target(self, model: nn.Module, problem: Problem, classes: Tensor) -> float:
        """Return the accuracy on the forget set at which training ends."""
        known = torch.cat([torch.isin(rows, classes) for rows, _ in self._rows(model, problem, problem.forget)])
        if not bool(known.any()) or not len(problem.validation):
            return GONE
        return self._accuracy(model, problem, problem.validation)

    def _accuracy(self, model: nn.Module, problem: Problem, index: Index) -> float:
        right = torch.cat([labels == chosen for labels, chosen in self._rows(model, problem, index)])
        return float(right.float().mean())

    def _rows(self, model: nn.Module, problem: Problem, index: Index) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the labels and the choices of the rows of these examples, in evaluation mode."""
        with evaluating(model), torch.no_grad():
            for batch in problem.plain(index, self.batch_size):
                rows = problem.predict(model, batch)
                yield rows.labels, rows.logits.argmax(dim=1)


def distances(features: Tensor, labels: Tensor, centroids: Tensor, classes: Tensor) -> Tensor:
    """Return the cosine distance of features (m, d) to the nearest centroid (k, d) of another class, (m,)."""
    apart = 1 - functional.normalize(features, dim=1) @ functional.normalize(centroids, dim=1).T
    return apart.masked_fill(labels[:, None] == classes[None, :], torch.inf).amin(dim=1)
