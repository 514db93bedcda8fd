"""Forget, contrast, strengthen: flatten the outputs on forget, hold them equally far from all retain rows, repair.

The method of team Fanchuan, first in the NeurIPS 2023 unlearning challenge; Triantafillou et al., Are We Making
Progress in Unlearning?, 2024, arXiv:2406.09073; named FCS by Cadet et al., Deep Unlearn, EuroS&P 2025,
arXiv:2410.01276. We read their code in the latter's port, kgltop1.py of https://github.com/xcadet/deepunlearn.

Erase, one epoch on forget:        KL(uniform || model).
Then in each epoch, contrast:      mean over retain rows j of -log softmax_j(f_i . r_j / T) for each forget row i,
                                   f and r the logits of the model, r held fixed; least where f_i is equally near to
                                   all retain rows;
              and strengthen:      CE on retain, one epoch.

Their three optimisers are SGD, that on retain with weight decay. Ours are three of the kind that `optimizer` names,
two of them with a learning rate of their own and no weight decay. The contrast's falls along a cosine to 0, theirs to
1e-6. Text has one row for each answer token.

Batch norm: `train`, as their model in all three phases, of which the first sees batches of forget rows alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Several
from unlearnbench.training.losses import cross_entropy, kl_to_teacher
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Fcs:
    """Erase the forget set in one epoch; then contrast it with retain and train on retain in each of `epochs`."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2023
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    erase_lr: Positive
    contrast_lr: Positive
    temperature: Positive
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after one epoch of erasure and `epochs` of contrast and repair."""

        def erase(forget: Batch) -> Tensor:
            return to_uniform(problem.predict(model, forget))

        def apart(anchors: Tensor, forget: Batch) -> Tensor:
            return contrast(problem.predict(model, forget), anchors, self.temperature)

        def repair(retain: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, retain))

        forget = problem.batches(problem.forget, size=self.batch_size)
        pairs = problem.batches(problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs)
        retain = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        settings = dataclasses.replace(self.optimizer, head_lr=None, weight_decay=0.0)
        erasing = dataclasses.replace(settings, lr=self.erase_lr, schedule="none")
        problem.optimize(model, erase, forget, erasing, batch_norm=self.batch_norm)

        contrasting = dataclasses.replace(settings, lr=self.contrast_lr, schedule="cosine")
        away = problem.stepper(model, contrasting, pairs.steps, batch_norm=self.batch_norm)
        back = problem.stepper(model, self.optimizer, retain.steps, batch_norm=self.batch_norm)
        for _ in range(self.epochs):
            for goes, stays in away.epoch(pairs):
                with torch.no_grad():
                    anchors = problem.predict(model, stays).logits
                problem.record.examples += len(stays)
                away.step(partial(apart, anchors), goes)
            back.descend(repair, retain)
        return model


def to_uniform(student: Predictions) -> Tensor:
    """KL(uniform || student) of each example, nats, (n,) float64, averaged over rows."""
    return kl_to_teacher(student, torch.full_like(student.logits, 1 / student.logits.shape[1]))


def contrast(student: Predictions, anchors: Tensor, temperature: float) -> Tensor:
    """Return how unevenly each example's rows resemble the anchors, (n,) float64, averaged over rows.

    `anchors` (k, c) are logits of other rows; log(k) is the least, where a row is equally near to all of them.
    """
    nearness = student.logits @ anchors.T / temperature
    return student.averaged(-functional.log_softmax(nearness, dim=1).mean(dim=1))
