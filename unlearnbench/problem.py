"""What the pieces of an experiment say to each other: data, batches, predictions, tasks and models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearnbench.batch import Batch as Batch
from unlearnbench.batch import Predictions as Predictions
from unlearnbench.evidence import Scores
from unlearnbench.models.start import incompetent, started, trainable
from unlearnbench.randomness import seeded, stage_seed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from unlearnbench.models.modes import BatchNorm
    from unlearnbench.optimizer import Optimizer
    from unlearnbench.progress import Progress
    from unlearnbench.training import Batches, Recipe, Record

Kind = Literal["image", "text"]
Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """What is known of a data set before it is loaded.

    `classes` are the names of the labels a model is trained on; `subclasses` the finer names below
    them, and `parents` the class of each subclass, where the data set has both; `train` counts the
    examples before a validation part, `held_out` of them, is taken; `shape` is (channels, height, width) of what a
    model is given (after resizing), and () for text. Of text, `classes` name the columns of the
    answer options, `columns` what forget=column can ask for, and `forget_sets` the forget sets it comes with.
    """

    kind: Kind
    classes: tuple[str, ...]
    train: int
    test: int
    shape: tuple[int, ...]
    subclasses: tuple[str, ...] = ()
    parents: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    held_out: int = 0
    forget_sets: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class GivenSet:
    """A forget set that a data set comes with: the training examples that go, and which ones are scored.

    `asked` are scored as forget and `retain_asked` as retain: what the data set's authors evaluate, which need be no
    training examples.
    """

    forget: Index
    asked: Index
    retain_asked: Index


class Data(Protocol):
    """A loaded data set: training, validation and test examples in one address space of positions.

    `labels` (n,) int64 are trained on, `subclass` (n,) int64 are the finer labels (equal to `labels` where
    there are none); `train`, `validation` and `test` are disjoint, sorted positions. `unit` (n,) int64 is equal
    for examples that are only sampled together, `cluster` (n,) int64 for those that are not independent (of one
    template or author), which intervals count together. `corrected` (n,) int64 is the position of an example's twin
    with the corrected answer, which belongs to no split; None where answers cannot be corrected. `columns` (n,) hold
    what else is known of each example, by name; `given` are the forget sets that the data set comes with, by name.
    """

    info: DataInfo
    labels: Index
    subclass: Index
    train: Index
    validation: Index
    test: Index
    unit: Index
    cluster: Index
    corrected: Index | None
    columns: Mapping[str, NDArray[np.generic]]
    given: Mapping[str, GivenSet]

    def fingerprint(self, index: Index) -> str:
        """Return a digest of the content of the examples at these positions: what keys are made of."""


class Dataset(Protocol):
    """A data set's configuration. `name` is its group choice's name in the YAML."""

    def info(self) -> DataInfo:
        """Say what the data set holds, without reading it."""

    def check(self) -> None:
        """Raise UserError where the data cannot be had or is damaged; may read files' digests."""

    def load(self) -> Data:
        """Read the data set; memory and time are proportional to the limits asked for."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Names of a model's submodules: the classifier, the blocks from input to output, the layer that masking masks."""

    head: str
    blocks: tuple[str, ...]
    mask_layer: str


class ModelSpec(Protocol):
    """A model's configuration.

    One with pretrained weights also has `start(info) -> nn.Module`, which returns the model with them, and where they
    are a choice `pretrained`, False for random weights; one that needs files also has `check()`, which raises
    UserError where they cannot be had; one that can be trained through a low-rank adapter has `adapter`. One of text
    has `tokenizer(texts)`, and `context` where it bounds the sequences.
    """

    kinds: ClassVar[frozenset[str]]

    @property
    def checkpoint(self) -> Path | None:
        """A file with trained weights that become the original, or None."""

    def build(self, info: DataInfo) -> nn.Module:
        """Return the model with random weights drawn from torch's global generator."""

    def parts(self) -> Parts:
        """Name the model's parts."""


class Method(Protocol):
    """An unlearning method: its hyper-parameters, and a call that does it.

    A method that cannot run on every problem also has `check(problem) -> str | None`, which says why not.
    """

    kinds: ClassVar[frozenset[str]]

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the unlearned model; `model` is the method's own copy of the original."""


class Task(Protocol):
    """The only place where images and text differ; it is bound to a data set, a device and a precision."""

    @property
    def head(self) -> str:
        """The name of the model's classifier."""

    def settings(self) -> tuple[object, ...]:
        """Return what of the data set's configuration can change a result, beside the examples: part of every key."""

    def shortened(self, index: Index, longer: int = 0) -> tuple[object, ...]:
        """Return what is cut of these examples, where a prompt makes each so much longer: part of their key."""

    def batch(self, index: Index, generator: torch.Generator | None, epoch: int = 0, seed: int = 0) -> Batch:
        """Return the examples at these positions; augmented where a generator is given, which each epoch seeds anew.

        `seed` is the training's own: what must hold over its epochs, such as which image is mirrored first, follows it.
        """

    def arranged(self, index: Index, sizes: Sequence[int], generator: torch.Generator) -> list[Index]:
        """Divide shuffled positions into batches of these sizes, in random order: texts of a length together."""

    def predict(self, model: nn.Module, batch: Batch) -> Predictions:
        """Run the model as training does, under the run's precision."""

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the batch as floats that a gradient can reach: images, or token embeddings."""

    def hidden(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return what the named submodule puts out for the batch, (n, ...) float32."""

    def score(self, model: nn.Module, index: Index) -> Scores:
        """Evaluate the model on the examples at these positions, in order, without augmentation."""

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move the model to the device and into the memory layout of the run's precision."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write a model in the form that its own world reads, beside what `results` writes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """All that a method may see: no test data, no retrained model.

    `retain`, `forget` and `validation` are positions in the data set, `validation` without what is forgotten where that
    is whole classes; `reference` is the frozen original.
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

    @property
    def parts(self) -> Parts:
        """The names of the model's head, blocks and mask layer."""
        return self.spec.parts()

    def start(self) -> nn.Module:
        """Return a model to train, as it stood before training: with random weights where nothing was pretrained."""
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

    def predict(self, model: nn.Module, batch: Batch) -> Predictions:
        """Run the model on a batch under the run's precision."""
        return self.task.predict(model, batch)

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the batch as floats that a gradient can reach."""
        return self.task.inputs(model, batch)

    def hidden(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return what the named submodule puts out for the batch, (n, ...) float32."""
        return self.task.hidden(model, batch, layer)

    def is_forget(self, batch: Batch) -> Tensor:
        """Say which of the batch's examples are to be forgotten, (n,) bool."""
        import torch

        return torch.isin(batch.index, torch.from_numpy(self.forget).to(batch.index.device))

    def batches(self, *indexes: Index, size: int, epochs: int) -> Batches:
        """Return shuffled, augmented batches: one batch per index at each step; the first index sets the epoch."""
        from unlearnbench.training import Batches

        return Batches(self.task, indexes, size, epochs, stage_seed(self.seed, "method"))

    def plain(self, index: Index, size: int) -> Iterator[Batch]:
        """Yield the examples at these positions once, in order, without augmentation."""
        for start in range(0, len(index), size):
            yield self.task.batch(index[start : start + size], None)

    def sample(self, index: Index, share: float) -> Index:
        """Draw a share of the positions, at least two and at most all, sorted."""
        count = min(max(round(share * len(index)), 2), len(index))
        generator = np.random.default_rng(stage_seed(self.seed, "sample"))
        return np.sort(generator.permutation(index)[:count])

    def optimize(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor],
        batches: Batches,
        optimizer: Optimizer,
        *,
        batch_norm: BatchNorm = "train",
        against: nn.Module | None = None,
    ) -> nn.Module:
        """Take all steps of the batches down `loss(*batches)`; raise Diverged where it is not finite.

        `against` is a frozen model whose outputs the loss compares the model's with. Both are then in one mode: batch
        norm as `batch_norm` says in both, dropout off in both.
        """
        from unlearnbench.models.modes import Mode, alike
        from unlearnbench.training import train

        validation = self.validation if optimizer.schedule == "plateau" else None
        with alike(against, batch_norm):
            return train(
                model, loss, batches, optimizer, record=self.record, progress=self.progress, validation=validation,
                mode=Mode(batch_norm=batch_norm, dropout=against is None),
            )  # fmt: skip

    def fit(self, model: nn.Module, index: Index) -> nn.Module:
        """Train the model on the examples at `index` by the recipe of the original."""
        from unlearnbench.training import fit

        return fit(
            model, self.task, index, self.validation, self.recipe,
            seed=self.seed, record=self.record, progress=self.progress,
        )  # fmt: skip
