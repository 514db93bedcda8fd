"""Decoupled distillation to erase: imitate the original on the forget set as if the true class did not exist.

Zhou, Zheng, Mo, Lu, Lin, Zheng: Decoupled Distillation to Erase, CVPR 2025, arXiv:2503.23751:

    L = mean over forget of KL(softmax(f(theta_o; x) with the logit of y at minus infinity) || softmax(f(theta; x)))

So the true class gets probability 0, and the others keep their ratios. No retain example is seen. On text a row is an
answer token, and the classes are the vocabulary. Their code puts the logit at -1e10, which is the same in float32.

Batch norm: the student of their code is in training mode, its teacher in evaluation mode; both see batches of forget
examples alone. `frozen` (the default) keeps the statistics of the original in both. In either mode the reference is in
the student's, without dropout: but for the true class, the two agree at the first step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count
from unlearnbench.techniques.remembered import remembered
from unlearnbench.training.losses import kl_to_teacher, softened
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Delete:
    """Minimise KL(the original without the true class || student) on forget."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "teachers"
    year: ClassVar[int] = 2025
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return why not where nothing is left without the true class."""
        if len(problem.info.classes) >= problem.info.fewest_classes:
            return None
        return "delete leaves out the true class, and this data set has one class; try a data set with more"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the student after its epochs on the forget set."""
        teacher = remembered(
            problem, self.epochs, lambda forget: without_label(problem.predict(problem.reference, forget))
        )

        def loss(forget: Batch) -> Tensor:
            return kl_to_teacher(problem.predict(model, forget), teacher(forget))

        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )


def without_label(predictions: Predictions) -> Tensor:
    """Return the softmax over all classes but the label, (m, c): 0 at the label."""
    return softened(predictions.logits.scatter(1, predictions.labels[:, None], -torch.inf))
