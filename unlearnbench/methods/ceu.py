"""CE-U: imitate the model's own prediction without the label that must go.

Yang: CE-U: Cross Entropy Unlearning (2025), arXiv:2503.01224:

    CE(q, softmax(z)),   q = softmax(z with the label's logit at -infinity), held fixed

z are a row's logits (an image, or an answer's token). Its gradient neither vanishes where the label is certain nor
explodes where it is unlikely, as that of gradient ascent does. The author uses forget rows alone, which is a retain
weight of 0, and does not train on an answer's first token, which is `skip_tokens: 1`; an example's only row always
counts. Skipped rows count 0 in the mean, where the author's code leaves them out.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Weight
from unlearnbench.techniques.preferences import row_counts
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Ceu:
    """Minimise forget_weight * CE-U on forget + retain_weight * CE on retain."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2025
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    skip_tokens: Annotated[int, Field(ge=0, le=1000)]
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""

        def loss(forget: Batch, *retain: Batch) -> Losses:
            lost = ceu(problem.predict(model, forget), self.skip_tokens)
            kept = (self.retain_weight * cross_entropy(problem.predict(model, batch)) for batch in retain)
            return self.forget_weight * lost, *kept

        indexes = (problem.forget, problem.retain) if self.retain_weight > 0 else (problem.forget,)
        batches = problem.batches(*indexes, size=self.batch_size, epochs=self.epochs)
        return problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm)


def ceu(predictions: Predictions, skipped: int = 0) -> Tensor:
    """Cross-entropy to the model's own softmax without the label's logit, held fixed, (n,) float64, rows averaged.

    Yang 2025, CE-U, arXiv:2503.01224. The first `skipped` rows of each example count 0, but never its last one.
    """
    others = predictions.logits.detach().scatter(1, predictions.labels[:, None], -torch.inf)
    target = torch.softmax(others, dim=1)
    rows = functional.cross_entropy(predictions.logits, target, reduction="none")
    if skipped:
        counts = row_counts(predictions)
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[predictions.example]
        rows = rows * (place >= (counts - 1).clamp(max=skipped)[predictions.example])
    return predictions.averaged(rows)
