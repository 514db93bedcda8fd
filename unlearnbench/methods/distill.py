"""Competent and incompetent teachers: imitate the original on what stays, a random network on what goes.

Chundawat, Tarun, Mandal, Kankanhalli: Can Bad Teaching Induce Forgetting?, AAAI 2023, arXiv:2205.08096. With p
softmax(logits / T), T `temperature`:

    L = mean over forget and a share of retain of KL(p_teacher(x) || p_theta(x)),
        the teacher a random network for x in forget, else the original

Their code averages KL over examples and classes; ours over examples, as the paper writes it (Adam does not mind).

Batch norm: `train`, as their student, on batches that mix forget and retain. Their teachers use running statistics, so
that the student differs at first from a teacher with the same weights; here the competent teacher is in the student's
mode, without dropout in either, and KL on retain begins at 0. The incompetent one uses its running statistics, as
theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Several
from unlearnbench.techniques.remembered import remembered
from unlearnbench.training.losses import kl_to_teacher, softened
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Minimise KL(teacher || student): the teacher is incompetent on forget and the original on retain examples.

    `retain_share` is the part of the retain set that is used, drawn once.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "teachers"
    year: ClassVar[int] = 2023
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    temperature: Positive
    retain_share: Annotated[float, Field(gt=0, le=1)]
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the student after its epochs on the forget set and a share of the retain set."""
        incompetent = problem.random()

        def taught(batch: Batch) -> Tensor:
            competent, random = problem.predict(problem.reference, batch), problem.predict(incompetent, batch)
            goes = problem.is_forget(batch)[competent.example, None]
            return softened(torch.where(goes, random.logits, competent.logits), self.temperature)

        def loss(batch: Batch) -> Tensor:
            return kl_to_teacher(problem.predict(model, batch), teacher(batch), self.temperature)

        teacher = remembered(problem, self.epochs, taught)

        index = np.concatenate([problem.forget, problem.sample(problem.retain, self.retain_share)])
        batches = problem.batches(index, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )
