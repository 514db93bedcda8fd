"""What a method sees, and what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from unlearnbench.contracts import Batch, DataInfo, Index, ModelSpec, Parts, Predictions
from unlearnbench.models.start import incompetent, started, trainable
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unlearnbench.machine.bars import Progress
    from unlearnbench.models.modes import BatchNorm
    from unlearnbench.training.batches import Batches, Beside
    from unlearnbench.training.optimizer import Optimizer
    from unlearnbench.training.recipe import Recipe
    from unlearnbench.training.record import Record
    from unlearnbench.training.stepper import Loss, Stepper
    from unlearnbench.training.watch import Watch


Family = Literal[
    "baseline", "exact", "retain training", "ascent", "relabelling", "teachers", "weight surgery", "representation",
    "prompt",
]  # fmt: skip
"""What a method does: nothing, retraining, training on retain alone, going up the loss on forget, giving forget rows
other labels, imitating teachers, changing weights directly, moving hidden representations, or changing the input."""


class Method(Protocol):
    """An unlearning method: its hyper-parameters, and a call that does it.

    `family` is what it does, `year` when its paper came out, 0 without one; `unlearnbench list methods` shows both.

    A method that cannot run on every problem also has `check(problem) -> str | None`, which says why not. One whose
    batches hold forget rows alone has `forget_alone = True`: a single image may be too few for batch norm.
    """

    kinds: ClassVar[frozenset[str]]

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the unlearned model; `model` is the method's own copy of the original."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """All that a method may see: no test data, no retrained model.

    `retain`, `forget` and `validation` are positions in the data set, `validation` without what is forgotten where that
    is whole classes; `reference` is the frozen original. `watch` is told of the steps: no method has to know of it.
    """

    task: Task
    info: DataInfo
    retain: Index
    forget: Index
    validation: Index
    reference: nn.Module
    spec: ModelSpec
    recipe: Recipe
    seed: int
    record: Record
    progress: Progress
    twins: Index | None = None
    watch: Watch | None = None

    @property
    def parts(self) -> Parts:
        """The names of the model's head, blocks and mask layer."""
        return self.spec.parts()

    def start(self) -> nn.Module:
        """Return a model to train, as it was before training: with random weights where nothing was pretrained."""
        with seeded(self.seed, "start"):
            return trainable(self.spec, self.task.prepare(started(self.spec, self.info)))

    def random(self, number: int = 0) -> nn.Module:
        """Return a frozen incompetent teacher, with random weights; each number gives another one.

        Of a pretrained language model it is the model before fine-tuning: random weights would unlearn the language.
        """
        with seeded(self.seed, "random", number):
            model = incompetent(self.spec, self.info)
            return self.task.prepare(model).eval().requires_grad_(False)

    def corrected(self, index: Index) -> Index:
        """Return the positions of these examples' twins with the corrected answer; a method's `check` asks `twins`."""
        assert self.twins is not None
        twins: Index = self.twins[index]
        return twins

    def answered(self, index: Index, answers: Sequence[str]) -> Batch:
        """Return the questions at these positions with other answers, one for each, as a batch; text alone has it."""
        return self.task.answered(index, answers)

    def rewritten(self, model: nn.Module, index: Index, instruction: str, temperature: float) -> list[str]:
        """Let a model write other answers to these questions by sampling; "" where it writes none or the own one."""
        return self.task.rewritten(model, index, instruction, temperature)

    def predict(self, model: nn.Module, batch: Batch, inputs: Tensor | None = None) -> Predictions:
        """Run the model on a batch under the run's precision; on changed `inputs` in place of the batch's, if given."""
        return self.task.predict(model, batch, inputs)

    def features(self, model: nn.Module, batch: Batch) -> tuple[Predictions, Tensor]:
        """Run the model; also return what its classifier gets for each row of the predictions, (m, d) float32."""
        return self.task.features(model, batch)

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the batch as floats that a gradient can reach."""
        return self.task.inputs(model, batch)

    def hidden(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return what the named submodule puts out for the batch, (n, ...) float32."""
        return self.task.hidden(model, batch, layer)

    def represent(self, model: nn.Module, batch: Batch, layer: str) -> Predictions:
        """Return what the named submodule puts out for each row to be predicted, (m, d), in place of the logits."""
        return self.task.represent(model, batch, layer)

    def is_forget(self, batch: Batch) -> Tensor:
        """Return which of the batch's examples are to be forgotten, (n,) bool on the device; it waits for nothing."""
        return self._forgotten[batch.index]

    @cached_property
    def _forgotten(self) -> Tensor:
        """Which positions are to be forgotten, up to the highest one that a batch can hold, on the device."""
        import torch

        parts = (self.retain, self.forget, self.validation, *([] if self.twins is None else [self.twins]))
        marks = np.zeros(1 + max(part.max(initial=0) for part in parts), dtype=bool)
        marks[self.forget] = True
        return torch.from_numpy(marks).to(next(self.reference.parameters()).device)

    def batches(self, *indexes: Index, size: int, epochs: int = 1, beside: Beside | None = None) -> Batches:
        """Return shuffled, augmented batches: one batch per index at each step; the first index sets the epoch.

        `beside(index, generator)` makes another batch of the first index's examples, which then comes second.
        """
        from unlearnbench.training.batches import Batches

        return Batches(self.task, indexes, size, epochs, stage_seed(self.seed, "method"), beside)

    def plain(self, index: Index, size: int) -> Iterator[Batch]:
        """Yield the examples at these positions once, in order, without augmentation."""
        for start in range(0, len(index), size):
            yield self.task.batch(index[start : start + size], None)

    def sample(self, index: Index, share: float) -> Index:
        """Draw a share of the positions, at least two and at most all, sorted."""
        count = min(max(round(share * len(index)), 2), len(index))
        generator = np.random.default_rng(stage_seed(self.seed, "sample"))
        return np.sort(generator.permutation(index)[:count])

    def stepper(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        steps: int,
        *,
        batch_norm: BatchNorm = "train",
        against: nn.Module | None = None,
    ) -> Stepper:
        """Return what trains the model: one optimiser and one schedule over the `steps` of all phases.

        `against` is a frozen model whose outputs a loss compares the model's with. Both are then in one mode: batch
        norm as `batch_norm` says in both, dropout off in both.
        """
        from unlearnbench.models.modes import Mode
        from unlearnbench.training.stepper import Stepper

        return Stepper(
            model, optimizer, steps, self.task.head, record=self.record, progress=self.progress,
            validation=self.validation if optimizer.schedule == "plateau" else None,
            mode=Mode(batch_norm=batch_norm, dropout=against is None), against=against, watch=self.watch,
        )  # fmt: skip

    def optimize(
        self,
        model: nn.Module,
        loss: Loss,
        batches: Batches,
        optimizer: Optimizer,
        *,
        batch_norm: BatchNorm = "train",
        against: nn.Module | None = None,
    ) -> nn.Module:
        """Train the model in one phase, all epochs of the batches down one loss; return it in evaluation mode."""
        stepper = self.stepper(model, optimizer, batches.steps, batch_norm=batch_norm, against=against)
        for _ in range(batches.epochs):
            stepper.descend(loss, batches)
        return model

    def fit(self, model: nn.Module, index: Index) -> nn.Module:
        """Train the model on the examples at `index` by the recipe of the original."""
        from unlearnbench.training.fit import fit

        return fit(
            model, self.task, index, self.validation, self.recipe,
            seed=self.seed, record=self.record, progress=self.progress, watch=self.watch,
        )  # fmt: skip
