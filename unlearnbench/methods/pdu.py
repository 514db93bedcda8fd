"""PDU: flatten the prediction on what goes, under a bound on the loss on what stays that a dual variable keeps.

Entesari, Hatami, Khaziev, Ramakrishna, Fazlyab: Constrained Entropic Unlearning: A Primal-Dual Framework for Large
Language Models, NeurIPS 2025, arXiv:2506.05314:

    min over weights, max over dual >= 0:   (max z - mean z)^2 on forget + dual * (CE on retain - bound)

z are a row's logits: an image's, or those that predict an answer's token; 0 is a uniform prediction. After each step
the dual variable moves by dual_step * (the step's CE on retain - bound), and not below 0; it begins at `dual` and stays
there for the first `warmup` epochs. Where a step is summed up from pieces or over several processors, the authors' code
moves it at each piece, and each processor its own. The bound is a loss somewhat over the original's on retain. The
authors' code flattens what follows each answer token, one place later than what predicts it; here, as in the paper, the
latter.

Batch norm: the authors' models have none. `frozen` is nearest to that: a loss depends on its own example alone.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import MOST, Count, Positive, Weight
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Pdu:
    """Minimise the margin of the logits on forget while CE on retain stays under `bound`.

    The run's table `dual` has the dual variable after each epoch.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "ascent"
    year: ClassVar[int] = 2025
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    bound: Positive
    dual: Weight
    dual_step: Weight
    warmup: Annotated[int, Field(ge=0, le=MOST)]
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set, retain batches beside it."""
        dual = torch.tensor(self.dual, dtype=torch.float64, device=next(model.parameters()).device)
        seen: list[Tensor] = []

        def loss(forget: Batch, retain: Batch) -> Losses:
            kept = cross_entropy(problem.predict(model, retain))
            seen.append(kept.detach())
            return margin(problem.predict(model, forget)), dual * (kept - self.bound)

        batches = problem.batches(problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for epoch in range(self.epochs):
            with closing(stepper.epoch(batches)) as steps:
                for forget, retain in steps:
                    seen.clear()
                    stepper.step(loss, forget, retain)
                    if epoch >= self.warmup:
                        dual = (dual + self.dual_step * (torch.cat(seen).mean() - self.bound)).clamp(min=0)
            problem.record.tables.setdefault("dual", []).append({"epoch": epoch + 1.0, "dual": float(dual)})
        return model


def margin(predictions: Predictions) -> Tensor:
    """How far logits are from uniform: (highest - mean)^2, (n,) float64, rows averaged; 0 where all are equal.

    Entesari et al. 2025, arXiv:2506.05314.
    """
    above = predictions.logits.max(dim=1).values - predictions.logits.mean(dim=1)
    return predictions.averaged(above**2)
