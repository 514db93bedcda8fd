"""Knowledge distillation with entropy: draw the first and the last layer afresh, and relearn retain from the original.

One of the top entries of the NeurIPS 2023 unlearning challenge; Triantafillou et al., Are We Making Progress in
Unlearning?, 2024, arXiv:2406.09073; named KDE by Cadet et al., Deep Unlearn, EuroS&P 2025, arXiv:2410.01276. We read
their code in the latter's port, kgltop6.py of https://github.com/xcadet/deepunlearn.

Reset the first layer and the head. Warm up: KL_T(original || model). Then: CE + distill_weight * KL_T on retain, where
KL_T compares softmax(logits / T), without a factor T^2. Their second loss also has the cross-entropy to the original's
softened outputs, whose gradient is KL_T's: their distill_weight is thus 2.

They warm up on validation rows. Ours is on a sample of retain: validation rows choose settings here, and must not be
trained on. Both phases have one optimiser and one schedule, where theirs begin anew, and the warm-up's learning rate
stays as it is. A pretrained language model's layers are reset to its weights before fine-tuning.

Batch norm: `train`, as their student. Their teacher uses running statistics; ours is in the student's mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.models.modes import BatchNorm
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import MOST, Count, Positive, Several, Weight
from unlearnbench.techniques.layers import first_layer
from unlearnbench.techniques.remembered import reference_softmax
from unlearnbench.techniques.reset import reset
from unlearnbench.training.losses import cross_entropy, kl_to_teacher
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Kde:
    """Reset the first layer and the head, imitate the original on `warm_up_share` of retain, then train on retain.

    `warm_up` and `epochs` count the epochs of the two phases.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "teachers"
    year: ClassVar[int] = 2023
    warm_up: Annotated[int, Field(ge=0, le=MOST)]
    warm_up_share: Annotated[float, Field(gt=0, le=1)]
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    temperature: Positive
    distill_weight: Weight
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: the layers to reset are frozen beneath it."""
        if adapter_of(problem.spec) is None:
            return None
        return "kde needs all weights; try method=distill, or model.adapter.r=0"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with two layers drawn afresh and relearnt."""
        teacher = reference_softmax(problem, self.warm_up + self.epochs, self.temperature)

        def unlike(student: Predictions, retain: Batch) -> Tensor:
            return kl_to_teacher(student, teacher(retain), self.temperature)

        def imitate(retain: Batch) -> Tensor:
            return unlike(problem.predict(model, retain), retain)

        def relearn(retain: Batch) -> Tensor:
            student = problem.predict(model, retain)
            return cross_entropy(student) + self.distill_weight * unlike(student, retain)

        reset(model, problem.random(), {first_layer(model), problem.parts.head})
        some = problem.sample(problem.retain, self.warm_up_share)
        warming = problem.batches(some, size=self.batch_size, epochs=self.warm_up)
        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        steps = warming.steps + batches.steps
        stepper = problem.stepper(model, self.optimizer, steps, batch_norm=self.batch_norm, against=problem.reference)
        for _ in range(self.warm_up):
            stepper.descend(imitate, warming)
        for _ in range(self.epochs):
            stepper.descend(relearn, batches)
        return model
