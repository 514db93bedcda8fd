"""Error-maximising noise: spoil what the forgotten classes mean, then repair the others.

Tarun, Chundawat, Mandal, Kankanhalli: Fast Yet Effective Machine Unlearning, IEEE TNNLS 2023, arXiv:2111.08947 (UNSIR).
For each forgotten class y, with the original theta_o:

    noise of y = arg min over x of mean(-CE(theta_o; x, y) + penalty * ||x||^2), from N(0, 1)
    impair: an epoch of CE on noise labelled y, and on a part of retain;   repair: an epoch of CE on that part of retain

The noise is in the space of the normalised images. The authors' code labels the noise of all classes with the first
forgotten one; here each class keeps its own label. It optimises the noise in training mode, so that the model's
statistics follow the noise before any step; here the frozen original does it, in evaluation mode. Each of the `noises`
images of a class is shown `repeats` times, spread evenly over the batches of the retain part. Their loop means to show
a batch of 256 images 20 times, but counts an image's channels instead of the batch, and so shows its first 3 images, 20
times each: `noises: 3` is what it does. Its retain images are not augmented.

Batch norm: `train`, as in their code, on batches that mix noise and retain, and then on retain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import Count, Several, Weight
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Unsir:
    """Learn noise that the original gets most wrong, train on it as the forgotten classes, and repair on retain.

    `noise` moves the noise for `noise_steps` steps, `impair` and `optimizer` the model. `retain_share` is the part of
    the retain set that is used, drawn once.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2023
    noises: Several
    noise_steps: Count
    penalty: Weight
    repeats: Count
    retain_share: Annotated[float, Field(gt=0, le=1)]
    batch_size: Several
    batch_norm: BatchNorm
    noise: Optimizer
    impair: Optimizer
    repair: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return why not where a forgotten class has examples that stay."""
        classes = np.unique(problem.task.answers(problem.forget))
        if not np.isin(problem.task.answers(problem.retain), classes).any():
            return None
        return "unsir forgets whole classes, and examples of the forgotten ones stay; try forget=class"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after an epoch that impairs it and one that repairs it."""

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(problem.predict(model, batch))

        noise = self.learned(problem)
        batches = problem.batches(problem.sample(problem.retain, self.retain_share), size=self.batch_size)
        generator = torch.Generator().manual_seed(stage_seed(problem.seed, "noise order"))
        shown = torch.arange(len(noise)).repeat(self.repeats)
        shown = shown[torch.randperm(len(shown), generator=generator)].to(noise.index.device)
        stepper = problem.stepper(model, self.impair, batches.steps, batch_norm=self.batch_norm)
        for (retain,), some in zip(stepper.epoch(batches), shown.tensor_split(batches.steps), strict=False):
            stepper.step(loss, _joined(retain, noise, some))
        stepper = problem.stepper(model, self.repair, batches.steps, batch_norm=self.batch_norm)
        stepper.descend(loss, batches)
        return model

    def learned(self, problem: Problem) -> Batch:
        """Return each forgotten class's noise as images with its label; `index` are their own numbers."""
        classes = torch.from_numpy(np.unique(problem.task.answers(problem.forget)))
        device = next(problem.reference.parameters()).device
        labels = classes.repeat_interleave(self.noises).to(device)
        generator = torch.Generator().manual_seed(stage_seed(problem.seed, "noise"))
        images = torch.randn(len(labels), *problem.info.shape, generator=generator).to(device)
        module = nn.ParameterList([nn.Parameter(images)])

        def loss(batch: Batch) -> Tensor:
            seen = module[0][batch.index]
            wrong = problem.predict(problem.reference, batch, seen)
            value: Tensor = self.penalty * seen.square().flatten(1).sum(dim=1)
            return value - functional.cross_entropy(wrong.logits, wrong.labels, reduction="none")

        batch = Batch(images, labels, torch.arange(len(labels), device=device))
        stepper = problem.stepper(module, self.noise, self.noise_steps)
        for _ in range(self.noise_steps):
            stepper.step(loss, batch)
        stepper.end_epoch()
        return replace(batch, inputs=module[0].detach())


def _joined(retain: Batch, noise: Batch, some: Tensor) -> Batch:
    """Return a batch of retain images and some of the noise."""
    images = torch.cat([retain.inputs, noise.inputs[some].to(retain.inputs)])
    labels = torch.cat([retain.labels, noise.labels[some]])
    return Batch(images, labels, torch.cat([retain.index, noise.index[some]]))
