"""Negative preference optimisation: push the forget set's likelihood below the original's, ever less the lower it is.

Zhang, Lin, Bai, Mei: Negative Preference Optimization, COLM 2024, arXiv:2404.05868, with the retain loss of their
NPO+RT:

    forget_weight * -(2 / beta) log sigmoid(beta (l - l_original)) + retain_weight * CE on retain

l is an example's cross-entropy summed over its rows: an image's one label, or an answer's tokens. This is
`npo_grad_diff` of their code (github.com/licong-lin/negative-preference-optimization), with its weights of 1 and a
random retain row beside each forget row: theirs is drawn once, and stays beside it in all epochs; ours is another one
in each. They also have NPO alone, which is `retain_weight: 0`, and NPO with KL on
retain, which we leave out.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone. In
either mode the reference is in the model's, without dropout, so that NPO begins at 2 ln 2 / beta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Weight
from unlearnbench.techniques.preferences import npo, summed_loss
from unlearnbench.techniques.remembered import reference_losses
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Npo:
    """Minimise forget_weight * NPO on forget + retain_weight * CE on retain; `beta` near 0 is gradient ascent."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2024
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    beta: Positive
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""
        reference = reference_losses(problem, self.epochs)

        def loss(forget: Batch, retain: Batch) -> Losses:
            lost = npo(summed_loss(problem.predict(model, forget)), reference(forget), self.beta)
            kept = cross_entropy(problem.predict(model, retain))
            return self.forget_weight * lost, self.retain_weight * kept

        batches = problem.batches(problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )
