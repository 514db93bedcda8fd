"""MU-Mis: lower how strongly the output for a forget example's class depends on its input, without any retain data.

Cheng, Huang, Zhou, He, Yang, Wu, Huang: Remaining-data-free Machine Unlearning by Suppressing Sample Contribution, ICLR
2026, arXiv:2402.15109 (2024: Machine Unlearning by Suppressing Sample Contribution). With f_c the logit of the label
and f_c' that of another class, drawn at random:

    L = mean over forget of ||d f_c / d x||^2 - ||d f_c' / d x||^2

Training raised the first above the second. The loss has no lower bound, so take small steps, and few of them;
`clip_norm` keeps a step from running away. The paper stops once the other class's sensitivity is a given multiple of
what it was at first; here the number of epochs decides. We could not see the authors' code
(github.com/poppopbean0903/MU-Mis). The inputs of a language model are its token embeddings, f_c is the sum of the
logits of the answer's tokens, and f_c' that of as many other tokens.

Batch norm: `frozen`: in training, an example's gradient would reach all others of its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.models.start import is_four_bit
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count
from unlearnbench.techniques.lookup import places
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Mumis:
    """Descend on the input sensitivity of the label's logit minus that of another one's, on forget alone."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "representation"
    year: ClassVar[int] = 2024
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where there is no other class, or no second derivative."""
        if is_four_bit(problem.spec):
            return "mumis needs second derivatives, which 4-bit layers lack; try model.load_in_4bit=false"
        if len(problem.info.classes) < problem.info.fewest_classes:
            return "mumis needs two classes; try dataset=fashion"
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set."""
        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for _ in range(self.epochs):
            for (forget,) in stepper.epoch(batches):
                drawn = torch.rand(len(forget), device=forget.index.device)

                def loss(batch: Batch, drawn: Tensor = drawn, whole: Batch = forget) -> Tensor:
                    return self.sensitivities(model, problem, batch, drawn[places(batch, whole)])

                with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have no second derivative
                    stepper.step(loss, forget)
        return model

    def sensitivities(self, model: nn.Module, problem: Problem, batch: Batch, drawn: Tensor) -> Tensor:
        """Return how much more sensitive the label's logit is than another's, squared, (n,).

        `drawn` (n,) in [0, 1) chooses the other class of each example, evenly among the wrong ones.
        """
        with torch.enable_grad():
            inputs = problem.inputs(model, batch).detach().requires_grad_(True)
            rows = problem.predict(model, batch, inputs)
            classes = rows.logits.shape[1]
            other = (rows.labels + 1 + (drawn[rows.example] * (classes - 1)).long()) % classes
            right, wrong = (
                _squared_slope(rows.logits.gather(1, chosen[:, None]).sum(), inputs) for chosen in (rows.labels, other)
            )
        return right - wrong


def _squared_slope(total: Tensor, inputs: Tensor) -> Tensor:
    """Return the squared norm of each example's gradient (n,), itself differentiable."""
    (slope,) = torch.autograd.grad(total, inputs, create_graph=True)
    return slope.flatten(1).square().sum(dim=1)
