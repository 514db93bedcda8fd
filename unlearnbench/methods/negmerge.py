"""NegMerge: reinforce the forget set several times, and step back by what all the changes agree on.

Kim, Han, Choe: NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025, arXiv:2410.05583. With tau_k
the change that fine-tuning on forget with the k-th setting makes:

    theta <- theta - strength * mean_k(tau_k) * [all tau_k have one sign]

One fine-tuning is the task vector of method=task_vector. The authors vary learning rates, augmentation and more, as a
search over them would; here the learning rate varies, and the order and augmentation of the examples with it. Their
code for CLIP merges in the same way, a 0 counting as no sign, and takes the strength that forgets most among those that
keep 95 % of the accuracy on other data, both on validation rows; here `strength` is a number. Buffers (batch norm's
running statistics) are left as the original has them.

Batch norm: the authors' main models have none. `frozen` trains with the statistics that the result is evaluated with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Negmerge:
    """Return theta - strength * the agreeing part of the mean change; `rates` multiply the optimiser's learning rate.

    `epochs` are those of each fine-tuning.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2024
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    rates: Annotated[tuple[Positive, ...], Field(min_length=1)]
    strength: Positive
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: its change is a product, whose factors have no common sign."""
        adapter = adapter_of(problem.spec) is not None
        return "negmerge needs all weights; try method=lora_negation, or model.adapter.r=0" if adapter else None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the original, moved away from what all its reinforced versions have in common."""
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        merged = Consensus()
        for rate in self.rates:
            model.load_state_dict(before)
            self._reinforce(model, problem, rate)
            merged.add({name: one.detach() - before[name] for name, one in model.named_parameters()})
        model.load_state_dict(before)
        with torch.no_grad():
            for name, change in merged.mean().items():
                model.get_parameter(name).sub_(self.strength * change)
        return model

    def _reinforce(self, model: nn.Module, problem: Problem, rate: float) -> None:
        """Train on the forget set, with the learning rate multiplied by `rate`."""

        def loss(forget: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, forget))

        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        optimizer = replace(self.optimizer, lr=rate * self.optimizer.lr)
        problem.optimize(model, loss, batches, optimizer, batch_norm=self.batch_norm)


class Consensus:
    """The sum of changes by name, and where all of them had one sign; it keeps two tensors a name, however many."""

    def __init__(self) -> None:
        self.count = 0
        self.total: dict[str, Tensor] = {}
        self.sign: dict[str, Tensor] = {}

    def add(self, change: dict[str, Tensor]) -> None:
        """Add another change."""
        for name, one in change.items():
            sign = one.sign()
            if self.count:
                self.total[name] += one
                self.sign[name] *= self.sign[name] == sign
            else:
                self.total[name], self.sign[name] = one.clone(), sign
        self.count += 1

    def mean(self) -> dict[str, Tensor]:
        """Return the mean change where all signs agree, and 0 elsewhere."""
        return {name: total / self.count * self.sign[name].abs() for name, total in self.total.items()}
