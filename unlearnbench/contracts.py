"""The interfaces between the parts: data, models, batches, predictions and tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evidence import Scores

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

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
        """Describe the data set without reading it."""

    def check(self) -> None:
        """Raise UserError if the data cannot be had or is damaged; may read files' digests."""

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


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples as a model takes them, on the device.

    `inputs` (n, ...): images are (n, c, h, w) float32, augmented and normalised, text is (n, t) int64 token ids;
    `labels` (n,) int64, or (n, t) with -100 where nothing is supervised; `index` (n,) int64 are the examples'
    positions in the data set. `rows_per_example` is the mean number of supervised rows of an example in the whole
    batch, also in a part of it. `weight` is 1, but for parts of batches of different sizes: every mean over a part's
    rows or examples is multiplied by it.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor
    rows_per_example: float = 1.0
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, start: int, stop: int, weight: float = 1.0) -> Batch:
        """Return the examples start to stop, without a copy."""
        part = slice(start, stop)
        return Batch(self.inputs[part], self.labels[part], self.index[part], self.rows_per_example, weight)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Rows of `logits` (m, c) float32 with their `labels` (m,) int64; one row an image, or one a supervised token.

    `example` (m,) int64 maps a row to its example in the batch, which has `examples`; `rows_per_example` and `weight`
    are the batch's. A mean over rows divides by examples * rows_per_example and is multiplied by the weight, so that
    parts add up to the batch.
    """

    logits: Tensor
    labels: Tensor
    example: Tensor
    examples: int
    rows_per_example: float = 1.0
    weight: float = 1.0


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
