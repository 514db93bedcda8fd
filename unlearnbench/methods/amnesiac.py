"""Amnesiac unlearning: give each forget example one wrong answer, and train on it and on all of the retain set.

Graves, Nagisetty, Ganesh: Amnesiac Machine Learning, AAAI 2021, arXiv:2010.10981, as in Foster, Schoepf, Brintrup, AAAI
2024, arXiv:2308.07707, whose tables call it so. The former paper has two methods. This is the one that changes labels,
not the one that subtracts the updates of some training batches:

    L = mean over forget and retain of CE(theta; x, y'), y' one of the wrong answers of x in forget, else y' = y.

The answers are drawn once and kept; random_label draws new ones in each epoch.

The code of Graves et al. (github.com/lmgraves/AmnesiacML) draws them alike, for a whole class, and trains for 10 epochs
at Adam's default rate. SSD's (github.com/if-loops/selective-synaptic-dampening) does so for random examples too, for 3
epochs at 1e-4, and ours follows it.

Their images are not augmented while they unlearn; ours are, as in training.

Batch norm: `train`, as in their code, on batches that mix forget and retain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Several
from unlearnbench.techniques.relabel import no_choice, relabelled
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Amnesiac:
    """Minimise cross-entropy over forget, with a wrong answer each, and all of retain."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2021
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return why not where an example has no wrong answer."""
        return no_choice(problem.task, problem.forget)

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over forget and retain."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        index = np.concatenate([problem.forget, problem.retain])
        batches = problem.batches(index, size=self.batch_size, epochs=self.epochs)
        task = relabelled(problem.task, problem.forget, "wrong", problem.seed)
        return problem.optimize(model, loss, replace(batches, task=task), self.optimizer, batch_norm=self.batch_norm)
