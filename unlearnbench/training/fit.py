"""Training a model from its start by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.machine.bars import Progress
from unlearnbench.task import Task
from unlearnbench.training.batches import Batches
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.recipe import Recipe
from unlearnbench.training.record import Record
from unlearnbench.training.stepper import Stepper

if TYPE_CHECKING:
    from unlearnbench.training.watch import Watch

Resume = Callable[[Stepper, Record], int]
Save = Callable[[Stepper, Record, int], None]


def fit(
    model: nn.Module,
    task: Task,
    index: Index,
    validation: Index,
    recipe: Recipe,
    *,
    seed: int,
    record: Record,
    progress: Progress,
    resume: Resume | None = None,
    save: Save | None = None,
    watch: Watch | None = None,
) -> nn.Module:
    """Train a model from its start on the examples at `index` by the recipe; return it in evaluation mode.

    `resume` may restore a saved state and returns how many epochs are done; `save` is offered the state after each
    epoch. Every epoch seeds itself, so a resumed training is the same. `watch` is told of each step.
    """

    def loss(batch: Batch) -> Tensor:
        return cross_entropy(task.predict(model, batch), recipe.label_smoothing)

    batches = Batches(task, (index,), recipe.batch_size, recipe.epochs, seed)
    stepper = Stepper(
        model, recipe.optimizer, batches.steps, task.head, record=record, progress=progress, validation=validation,
        watch=watch,
    )  # fmt: skip
    if resume is not None:
        stepper.epochs = resume(stepper, record)
    with compiled(model, recipe.compile):
        while stepper.steps < stepper.planned:
            stepper.descend(loss, batches)
            if save is not None:
                save(stepper, record, stepper.epochs)
    return model.eval()


@contextmanager
def compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Translate the model inside the block, in place: the names of its weights stay."""
    if wanted:
        model.compile()
    try:
        yield
    finally:
        model._compiled_call_impl = None
