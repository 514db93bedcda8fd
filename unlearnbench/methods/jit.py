"""Just in time unlearning: make the model's output around each forget example flat, without any retain data.

Foster, Fogarty, Schoepf, Oeztireli, Brintrup: Zero-Shot Machine Unlearning at Scale via Lipschitz Regularization
(2024), arXiv:2402.01401. With f the logits and e Gaussian noise:

    L = mean over forget of 1/N sum_{k=1..N} ||f(x) - f(x + e_k)|| / ||e_k||

minimised by plain SGD in one pass. The authors' code holds f(x + e) fixed: f(x) moves towards the noisy outputs while
the surroundings stay. The published numbers are of that, and it is what forgets a class, so `detach` is on by default;
without it the output gets flatter on both sides, and forget accuracy may even rise. Their code also clips noisy images
to the range of their batch, and adds up over the batch where we average. `noise` is in units of the batch's standard
deviation, which is near 1 for normalised images. The inputs of a language model are its token embeddings, and f is the
logits of all tokens of the answer.

Batch norm: the authors' networks have none (their VGG16 is torchvision's VGG11, beside a ViT), and their training mode
is one of dropout. `frozen` shows the loss alone. With `train`, our default, running statistics follow the forget set
and its noise, and on a small network most of the forgetting comes from that. Their images are not augmented.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive
from unlearnbench.techniques.lookup import places
from unlearnbench.training.optimizer import Optimizer

TINY = 1e-12
"""Squared changes of the output below this have no gradient: a root has none at 0."""


@dataclass(frozen=True, kw_only=True)
class Jit:
    """Minimise how much the output changes per size of `copies` random changes of each forget input."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "representation"
    year: ClassVar[int] = 2024
    forget_alone: ClassVar[bool] = True
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    copies: Count
    noise: Positive
    detach: bool
    optimizer: Optimizer

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set."""
        batches = problem.batches(problem.forget, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, batches.steps, batch_norm=self.batch_norm)
        for _ in range(self.epochs):
            for (forget,) in stepper.epoch(batches):
                noise = self._drawn(problem.inputs(model, forget).detach())

                def loss(batch: Batch, noise: Tensor = noise, whole: Batch = forget) -> Tensor:
                    return self.slopes(model, problem, batch, noise[:, places(batch, whole)])

                stepper.step(loss, forget)
                problem.record.examples += self.copies * len(forget)
        return model

    def _drawn(self, inputs: Tensor) -> Tensor:
        """Draw the noise for all copies of a batch's inputs (n, ...), (copies, n, ...)."""
        return self.noise * inputs.std() * torch.randn(self.copies, *inputs.shape, device=inputs.device)

    def slopes(self, model: nn.Module, problem: Problem, batch: Batch, noise: Tensor) -> Tensor:
        """Return the mean change of each example's output per size of its noise (copies, n, ...), (n,)."""
        inputs, copies = problem.inputs(model, batch), len(noise)
        with torch.set_grad_enabled(not self.detach and torch.is_grad_enabled()):
            noisy = problem.predict(model, batch.repeated(copies), (inputs + noise).flatten(0, 1)).logits
        clean = problem.predict(model, batch, inputs)
        squares = (clean.logits - noisy.view(copies, *clean.logits.shape)).square().sum(dim=2)
        changes = squares.new_zeros(copies, len(batch)).index_add(1, clean.example, squares).clamp_min(TINY).sqrt()
        slopes: Tensor = changes / noise.flatten(2).norm(dim=2)
        return slopes.mean(dim=0)
