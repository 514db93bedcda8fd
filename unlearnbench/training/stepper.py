"""The only place that optimises: the stepper, the recipe of a training from scratch, and `fit`."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index, Task
from unlearnbench.errors import Diverged, UserError
from unlearnbench.machine.cost import Spent
from unlearnbench.models.modes import TRAINING, Mode
from unlearnbench.randomness import stage_seed
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer, groups, optimizer_over, schedule_over
from unlearnbench.training.progress import Progress
from unlearnbench.training.recipe import Recipe

Loss = Callable[..., Tensor]

CHECK_EVERY = 25
"""Steps between two looks at the losses for NaN or Inf: a look waits for the device."""


@dataclass
class Record:
    """What a stage leaves beside its weights: one row an epoch, and how many examples it looked at.

    `strength` is for methods that can say what weaker and stronger settings would have done: a row each.
    `validation_seconds` went into scoring the validation examples, `earlier` into the processes before an interruption.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    strength: list[dict[str, float]] = field(default_factory=list)
    examples: int = 0
    validation_seconds: float = 0.0
    earlier: Spent = field(default_factory=Spent)


@dataclass(frozen=True, eq=False)
class Batches:
    """Shuffled batches for some epochs: tuples of one batch per index; the first sets the length, the others cycle."""

    task: Task
    indexes: tuple[Index, ...]
    size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in one epoch."""
        return len(_sizes(len(self.indexes[0]), self.size))

    def epoch(self, number: int) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of one epoch; its order and augmentation depend on seed and epoch alone."""
        streams = [self._stream(place, number) for place in range(len(self.indexes))]
        for _ in range(self.steps_per_epoch):
            yield tuple(next(stream) for stream in streams)

    def _stream(self, place: int, epoch: int) -> Iterator[Batch]:
        index = self.indexes[place]
        generator = torch.Generator().manual_seed(stage_seed(self.seed, "batches", epoch, place))
        sizes = _sizes(len(index), self.size)
        while True:
            shuffled = index[torch.randperm(len(index), generator=generator).numpy()]
            for part in self.task.arranged(shuffled, sizes, generator):
                yield self.task.batch(part, generator, epoch, self.seed)


def _sizes(count: int, size: int) -> list[int]:
    """Return the sizes of the fewest even batches of at most `size`: a small rest would upset batch norm.

    A rest of one example joins another batch, which is then one larger than `size`, unless batches of one are wanted.
    """
    steps = math.ceil(count / size)
    if size > 1:
        steps = max(min(steps, count // 2), 1)
    return [count * (step + 1) // steps - count * step // steps for step in range(steps)]


class Stepper:
    """One optimiser over one model: `step(loss, *batches)`, with clipping, micro-batches and a watch on the loss."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, steps: int, head: str = "") -> None:
        self.model = model
        self.settings = optimizer
        self.optimizer = optimizer_over(groups(model, optimizer, head), optimizer)
        self.scheduler = schedule_over(self.optimizer, optimizer, steps)
        self.planned = steps
        self.steps = 0
        self.examples = 0
        self.losses: list[Tensor] = []

    @property
    def lr(self) -> float:
        """The learning rate of the next step; of the backbone, where the head has another."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, loss: Loss, *batches: Batch) -> None:
        """Take one step down `loss(*batches)`, a sum of means over each batch; raise Diverged when it is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(self._backward(loss, batches))
        if self.settings.clip_value is not None:
            nn.utils.clip_grad_value_(self.model.parameters(), self.settings.clip_value)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.scheduler is not None and self.settings.schedule != "plateau":
            self.scheduler.step()
        self.steps += 1
        self.examples += sum(len(batch) for batch in batches)
        if self.steps % CHECK_EVERY == 0:
            self._check()

    def end_epoch(self, validation_loss: float | None = None) -> float:
        """Close an epoch: check the losses and weights, move a plateau schedule, return the epoch's mean loss."""
        self._check()
        finite = torch.stack([parameter.detach().isfinite().all() for parameter in self.model.parameters()])
        if not bool(finite.all()):
            raise Diverged(self.steps)
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(math.inf if validation_loss is None else validation_loss)
        mean = float(torch.stack(self.losses).mean()) if self.losses else math.nan
        self.losses = []
        return mean

    def _backward(self, loss: Loss, batches: tuple[Batch, ...]) -> Tensor:
        size = self.settings.micro_batch or max(len(batch) for batch in batches)
        total = torch.zeros((), device=batches[0].inputs.device)
        for share, pieces in parted(batches, size):
            with _alone_explained():
                value = loss(*pieces) * share
            value.backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        return total

    def _check(self) -> None:
        if self.losses:
            finite = torch.stack(self.losses).isfinite()
            if not bool(finite.all()):
                raise Diverged(self.steps - len(self.losses) + int((~finite).int().argmax()) + 1)


@contextmanager
def _alone_explained() -> Iterator[None]:
    """Say in our words what batch norm says of one example: a small batch beside a large one is cut into such parts."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a step saw one image alone, from which batch norm cannot learn in training.\n"
            "Try: method.batch_norm=frozen, or a larger method.optimizer.micro_batch or batch_size"
        ) from error


Resume = Callable[["Stepper", Record], int]
Save = Callable[["Stepper", Record, int], None]


def train(
    model: nn.Module,
    loss: Loss,
    batches: Batches,
    optimizer: Optimizer,
    *,
    record: Record,
    progress: Progress,
    validation: Index | None = None,
    resume: Resume | None = None,
    save: Save | None = None,
    mode: Mode = TRAINING,
) -> nn.Module:
    """Take all steps of `batches` down `loss`, in training `mode`, and return the model in evaluation mode.

    `record` gains one row an epoch. `resume` may restore a saved state and returns the epoch to begin with;
    `save` is offered the state after each epoch. Every epoch seeds itself, so a resumed training is the same.
    """
    steps = batches.steps_per_epoch
    total = min(steps * batches.epochs, optimizer.max_steps or steps * batches.epochs)
    stepper = Stepper(model, optimizer, total, batches.task.head)
    first = resume(stepper, record) if resume else 0
    before = record.examples
    for epoch in range(first, math.ceil(total / steps)):
        mode.enter(model)
        torch.manual_seed(stage_seed(batches.seed, "epoch", epoch))
        lr = stepper.lr
        left = total - epoch * steps
        for number, tuple_ in enumerate(itertools.islice(batches.epoch(epoch), left), epoch * steps + 1):
            stepper.step(loss, *tuple_)
            progress.update(number, total)
        row = {"epoch": float(epoch + 1), "lr": lr}
        if validation is not None and len(validation):
            started = _clock(model)
            scores = batches.task.score(model, validation)
            record.validation_seconds += _clock(model) - started
            row["validation_loss"] = float(scores.loss.mean())
            row["validation_accuracy"] = float((scores.prediction == scores.label).mean())
        row["loss"] = stepper.end_epoch(row.get("validation_loss"))
        record.curve.append(row)
        record.examples = before + stepper.examples
        if save is not None:
            save(stepper, record, epoch + 1)
    return model.eval()


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
) -> nn.Module:
    """Train a model from its start on the examples at `index` by the recipe."""

    def loss(batch: Batch) -> Tensor:
        return cross_entropy(task.predict(model, batch), recipe.label_smoothing)

    batches = Batches(task, (index,), recipe.batch_size, recipe.epochs, seed)
    with compiled(model, recipe.compile):
        return train(
            model,
            loss,
            batches,
            recipe.optimizer,
            record=record,
            progress=progress,
            validation=validation,
            resume=resume,
            save=save,
        )


def _clock(model: nn.Module) -> float:
    """Return the time in seconds, once a GPU has done what it was asked to do before."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def compiled(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Translate the model inside the block, in place: the names of its weights stay."""
    if wanted:
        model.compile()
    try:
        yield
    finally:
        model._compiled_call_impl = None


def parted(batches: tuple[Batch, ...], size: int) -> Iterator[tuple[float, tuple[Batch, ...]]]:
    """Split batches into parts of at most `size` examples; yield each part's share of the step, and its pieces.

    The shares follow the largest batch and sum to 1, and each piece's weight makes up for what its own batch has more
    or less of: sum of share * loss(*pieces) is loss(*batches) where the loss is a sum of means over each batch. Of a
    batch with fewer examples than there are parts, a piece is one example, which several parts see.
    """
    largest = max(len(batch) for batch in batches)
    parts = (
        -(-largest // size) if size == 1 else max(min(-(-largest // size), largest // 2), 1)
    )  # none is of one example
    for part in range(parts):
        share = (largest * (part + 1) // parts - largest * part // parts) / largest
        yield share, tuple(_piece(batch, part, parts, share) for batch in batches)


def _piece(batch: Batch, part: int, parts: int, share: float) -> Batch:
    count = len(batch)
    start = count * part // parts
    stop = max(count * (part + 1) // parts, start + 1)
    times = sum(count * other // parts == start for other in range(parts))  # over 1 where an example is seen again
    return batch.rows(start, stop, (stop - start) / count / times / share)
