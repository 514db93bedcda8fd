"""Instruction fine-tuning: teach the corrected answers to the questions that must be forgotten.

Roy: Comparative Study of Machine Unlearning Techniques for Computer Vision and NLP Models (2025): a second fine-tuning
on biased rows with the answer "not biased". We mix in retain rows with their true answers, so that the model does not
learn to give one answer always.

    L = mean over forget and drawn retain rows of CE(theta; x, y'),  y' the corrected answer of x in forget, else y' = y
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Instruct:
    """Descend on the cross-entropy of corrected answers to forget questions, mixed with retain rows.

    `retain_per_forget` retain rows are drawn for each forget row (at most all of them); 0 is the study's text.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2025
    epochs: Count
    batch_size: Count
    retain_per_forget: Annotated[float, Field(ge=0, le=1000)]
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where the data set knows no corrected answers."""
        return None if problem.twins is not None else "instruct needs corrected answers, and this data set has none"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs on corrected forget rows and retain rows."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        index = problem.corrected(problem.forget)
        share = min(self.retain_per_forget * len(index) / len(problem.retain), 1.0)
        if share > 0:
            index = np.concatenate([index, problem.sample(problem.retain, share)])
        batches = problem.batches(index, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer)
