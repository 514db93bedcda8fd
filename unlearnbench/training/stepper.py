"""The only place that optimises: one optimiser over one model, and the schedule, epochs and checks around it."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.errors import Diverged, UserError
from unlearnbench.machine.bars import Progress, Quiet
from unlearnbench.models.modes import TRAINING, Mode, alike
from unlearnbench.randomness import stage_seed
from unlearnbench.task import Task
from unlearnbench.training.batches import Batches
from unlearnbench.training.losses import Losses
from unlearnbench.training.optimizer import Optimizer, groups, optimizer_over, schedule_over
from unlearnbench.training.parts import parts
from unlearnbench.training.record import Record

if TYPE_CHECKING:
    from unlearnbench.training.watch import Watch

Loss = Callable[..., Losses]

CHECK_EVERY = 25
"""Steps between two looks at the losses for NaN or Inf: a look waits for the device."""


class Stepper:
    """Trains one model with one optimiser and one learning-rate schedule over `steps` steps, in one or several phases.

    `descend(loss, batches)` is one epoch. `epoch(batches)` yields its batches to a loop that calls `step` itself.
    Every epoch has its own number, whatever its phase and stepper, and with it its own shuffles. `steps` counts the
    steps taken, `planned` those that there will be. `against` is a frozen model that is brought into the model's mode
    in an epoch. `watch` is told of each step.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        steps: int,
        head: str = "",
        *,
        record: Record | None = None,
        progress: Progress | None = None,
        validation: Index | None = None,
        mode: Mode = TRAINING,
        against: nn.Module | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.model, self.settings = model, optimizer
        self.planned = min(steps, optimizer.max_steps or steps)
        self.optimizer = optimizer_over(groups(model, optimizer, head), optimizer)
        self.scheduler = schedule_over(self.optimizer, optimizer, self.planned)
        self.record, self.progress = record or Record(), progress or Quiet()
        self.validation, self.mode, self.against, self.watch = validation, mode, against, watch
        self.steps, self.epochs = 0, len(self.record.curve)
        self.losses: list[Tensor] = []

    @property
    def lr(self) -> float:
        """The learning rate of the next step; of the backbone, where the head has another."""
        return float(self.optimizer.param_groups[0]["lr"])

    def descend(self, loss: Loss, batches: Batches) -> None:
        """Train for one epoch: one step down `loss` for each of the batches."""
        with closing(self.epoch(batches)) as epoch:
            for some in epoch:
                self.step(loss, *some)

    def epoch(self, batches: Batches) -> Generator[tuple[Batch, ...]]:
        """Yield the batches of the next epoch, with the model in training mode; then check it and note its row.

        The model is in evaluation mode before and after. Once `optimizer.max_steps` are taken there are no batches.
        """
        left = None if self.settings.max_steps is None else self.planned - self.steps
        if left == 0:
            return
        number, lr = max(self.epochs, len(self.record.curve)), self.lr  # another stepper may have trained meanwhile
        self.epochs = number + 1
        torch.manual_seed(stage_seed(batches.seed, "epoch", number))
        with alike(self.against, self.mode.batch_norm), _training(self.model, self.mode):
            for some in itertools.islice(batches.epoch(number), left):
                yield some
                self.progress.update(self.steps, self.planned)
        row = {"epoch": float(number + 1), "lr": lr, **self._validated(batches.task)}
        row["loss"] = self.end_epoch(row.get("validation_loss"))
        self.record.curve.append(row)

    def step(self, loss: Loss, *batches: Batch) -> None:
        """Take one step down `loss(*batches)`; raise Diverged when it is not finite.

        A loss returns one value per example, (n,): a tensor for one batch, a tuple of one tensor for each of several.
        Each tensor is averaged over its batch, and the averages are added.
        """
        if self.steps == self.planned:
            raise ValueError(f"this stepper was made for {self.planned} steps, and they are taken")
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
        self.record.examples += sum(len(batch) for batch in batches)
        if self.steps % CHECK_EVERY == 0:
            self._check()
        if self.watch is not None:
            self.watch.stepped(self.model, self.record.examples)

    def end_epoch(self, validation_loss: float | None = None) -> float:
        """Check the losses and weights, move a plateau schedule, and return the mean loss since the last call."""
        self._check()
        finite = torch.stack([parameter.detach().isfinite().all() for parameter in self.model.parameters()])
        if not bool(finite.all()):
            raise Diverged(self.steps)
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(math.inf if validation_loss is None else validation_loss)
        losses, self.losses = self.losses, []
        return float(torch.stack(losses).mean()) if losses else math.nan

    def _backward(self, loss: Loss, batches: tuple[Batch, ...]) -> Tensor:
        size = self.settings.micro_batch or max(len(batch) for batch in batches)
        total = torch.zeros((), dtype=torch.float64, device=batches[0].inputs.device)
        for part in parts(batches, size):
            with _alone_explained():
                value = part.loss(loss(*part.batches))
            value.backward()  # type: ignore[no-untyped-call]
            total += value.detach()
        return total

    def _validated(self, task: Task) -> dict[str, float]:
        """Score the validation examples, where there are any; the seconds are noted apart."""
        if self.validation is None or not len(self.validation):
            return {}
        started = clock(self.model)
        scores = task.score(self.model, self.validation)
        self.record.validation_seconds += clock(self.model) - started
        return {"validation_loss": float(scores.loss.mean()), "validation_accuracy": float(scores.right[1].mean())}

    def _check(self) -> None:
        if self.losses:
            finite = torch.stack(self.losses).isfinite()
            if not bool(finite.all()):
                raise Diverged(self.steps - len(self.losses) + int((~finite).int().argmax()) + 1)


@contextmanager
def _training(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Put the model into its training mode inside the block, and into evaluation mode after it."""
    mode.enter(model)
    try:
        yield
    finally:
        model.eval()


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


def clock(model: nn.Module) -> float:
    """Return the time in seconds, once a GPU has done what it was asked to do before."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
