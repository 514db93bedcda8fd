"""SCRUB: disobey the original on the forget set and obey it on the retain set, in turns.

Kurmanji, Triantafillou, Hayes, Triantafillou: Towards Unbounded Machine Unlearning, NeurIPS 2023, arXiv:2302.09880.
With the frozen original p, the student q, and d = T^2 KL(p || q) at temperature T:

    min over q of  alpha mean_r d + gamma mean_r CE - mean_f d

Each of the first `msteps` epochs is a pass over forget that only maximises d, then a pass over retain that minimises
the rest; later epochs are of retain alone. With `rewind` (their SCRUB+R) the answer is the epoch whose error on forget
is nearest to a reference: the last student's error on validation rows of the same classes. No such rows are left where
whole classes go: a model that never saw a class gets all of it wrong, so the reference is then 1. Their code also
counts the original as an epoch, though it then returns the first, and takes the earliest of equally near ones; here it
is the last, repaired for longest.

Batch norm: `train`, as their student. Their teacher uses its running statistics, and so does ours: it is one fixed
function, and the student differs from it at the first step. Between equal models the slope of d is zero: under
`frozen` and without dropout the first pass over forget changes nothing but by weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import MOST, Count, Positive, Several, Weight
from unlearnbench.techniques.remembered import reference_softmax
from unlearnbench.training.losses import cross_entropy, kl_to_teacher
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Scrub:
    """Maximise KL to the original on forget for `msteps` epochs; minimise gamma CE + alpha KL on retain in each epoch.

    `rewind` keeps the weights of every epoch and returns those whose error on forget is right for unseen rows.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "teachers"
    year: ClassVar[int] = 2023
    forget_alone: ClassVar[bool] = True
    epochs: Count
    msteps: Annotated[int, Field(ge=0, le=MOST)]
    batch_size: Several
    forget_batch_size: Several
    batch_norm: BatchNorm
    gamma: Weight
    alpha: Weight
    temperature: Positive
    rewind: bool
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where there is nothing to rewind by."""
        if self.rewind and not len(problem.validation):
            return "scrub rewinds by validation rows, and there are none; try method.rewind=false"
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the student after its epochs, or as it was after the best of them."""
        teacher = reference_softmax(problem, self.epochs, self.temperature)

        def distance(batch: Batch) -> tuple[Tensor, Tensor]:
            """Return T^2 KL(original || student) and the cross-entropy of each example."""
            taught, student = teacher(batch), problem.predict(model, batch)
            return self.temperature**2 * kl_to_teacher(student, taught, self.temperature), cross_entropy(student)

        def away(forget: Batch) -> Tensor:
            return -distance(forget)[0]

        def back(retain: Batch) -> Tensor:
            apart, loss = distance(retain)
            return self.gamma * loss + self.alpha * apart

        ups = min(self.msteps, self.epochs)
        forget = problem.batches(problem.forget, size=self.forget_batch_size, epochs=ups)
        retain = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        stepper = problem.stepper(model, self.optimizer, forget.steps + retain.steps, batch_norm=self.batch_norm)
        kept: list[dict[str, Tensor]] = []
        errors: list[float] = []
        for epoch in range(self.epochs):
            if epoch < ups:
                stepper.descend(away, forget)
            stepper.descend(back, retain)
            if self.rewind:
                kept.append(moving(model))
                errors.append(1 - float(problem.task.score(model, problem.forget).right[1].mean()))
        if self.rewind:
            best = nearest_epoch(errors, reference_error(model, problem))
            problem.record.tables["rewind"] = [
                {"epoch": epoch + 1.0, "forget_error": error, "chosen": float(epoch == best)}
                for epoch, error in enumerate(errors)
            ]
            model.load_state_dict(kept[best], strict=False)
        return model


def moving(model: nn.Module) -> dict[str, Tensor]:
    """Return copies, in main memory, of what training moves: the weights that learn, and all buffers."""
    learning = {name: one.detach() for name, one in model.named_parameters() if one.requires_grad}
    return {name: one.to("cpu", copy=True) for name, one in {**learning, **dict(model.named_buffers())}.items()}


def reference_error(model: nn.Module, problem: Problem) -> float:
    """Return the error that unseen rows of the forget set's classes have; 1 where all rows of a class are to go."""
    scores = problem.task.score(model, problem.validation)
    forget = problem.task.score(problem.reference, problem.forget)
    same = np.isin(scores.label, forget.label)
    return 1 - float(scores.right[1][same].mean()) if same.any() else 1.0


def nearest_epoch(errors: list[float], reference: float) -> int:
    """Return the epoch whose error is nearest to the reference; of equally near ones, the last."""
    return min(range(len(errors)), key=lambda epoch: (abs(errors[epoch] - reference), -epoch))
