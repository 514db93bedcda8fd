"""The interfaces between the parts of the package: data, models, batches and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

Kind = Literal["image", "text"]
Index = NDArray[np.int64]
IGNORED = -100
"""The label of a token that nothing is learned from, torch's own."""
FEWEST_CLASSES: Mapping[Kind, int] = {"image": 2, "text": 1}


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The facts about a data set that are known before it is loaded.

    `classes` are the names of the labels to train on; `subclasses` are finer names below them, and `parents` the class
    of each subclass, if the data set has both. `train` counts the training examples including the validation part of
    `held_out` examples. `shape` is the (channels, height, width) of a model's input after resizing, or () for text.
    For text, `classes` names the columns of the answer options (there may be one, the answer), `columns` those that
    forget=column can use, and `forget_sets` the forget sets that come with the data set.
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

    @property
    def has_options(self) -> bool:
        """Whether there is more than one class or answer option to choose from."""
        return len(self.classes) > 1

    @property
    def fewest_classes(self) -> int:
        """How many classes a model needs to have anything to tell apart: text has its words beside them."""
        return FEWEST_CLASSES[self.kind]


@dataclass(frozen=True, eq=False)
class GivenSet:
    """A forget set that comes with a data set: the examples to forget and those to score.

    `asked` is scored as forget and `retain_asked` as retain: the examples that the data set's authors evaluate, which
    need not be training examples.
    """

    forget: Index
    asked: Index
    retain_asked: Index


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A patch of `side` x `side` bright pixels in the lower right corner of an image, or a `word` before a question."""

    side: int
    word: str


class Data(Protocol):
    """A loaded data set, itself a dataclass: training, validation and test examples, numbered in one sequence.

    `labels` (n,) int64 are the labels to train on; `subclass` (n,) int64 are the finer labels, or `labels` if there are
    none. `train`, `validation` and `test` are disjoint, sorted positions. `unit` (n,) int64 is equal for examples that
    must be sampled together; `cluster` (n,) int64 is equal for examples that are not independent (one template or
    author), which intervals count together. `corrected` (n,) int64 is the position of each example's twin with the
    corrected answer, which belongs to no split; None if answers cannot be corrected. `columns` (n,) hold everything
    else known about the examples, by name; `given` are the forget sets that come with the data set, by name. `same` is
    what the examples of a unit are to each other: copies, or twins that differ in one thing.
    """

    same: ClassVar[Literal["copies", "twins"]]

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
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def choices(self, index: Index) -> NDArray[np.bool_]:
        """Return which labels the examples at these positions can have, (n, c): every class, or their options."""

    def manipulated(self, labels: Index, marked: Index, trigger: Trigger | None) -> Data:
        """Return this data set with other labels (n,), and with a trigger in the examples at `marked`."""

    def fingerprint(self, index: Index) -> str:
        """Return a digest of the content of the examples at these positions, for use in keys."""

    def told(self, position: int) -> tuple[str, str]:
        """Return an example's question, "" for an image, and its answer: a class, or a text."""

    def pixels(self, position: int) -> NDArray[np.uint8] | None:
        """Return an image as models see it, but not normalised, (c, h, w); None for text."""


class Dataset(Protocol):
    """A data set's configuration."""

    def info(self) -> DataInfo:
        """Describe the data set without reading it."""

    def check(self) -> None:
        """Raise UserError if the data is not available or damaged; may compute digests of files."""

    def load(self) -> Data:
        """Read the data set; memory and time are proportional to its limits."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Names of a model's submodules: classifier, blocks from input to output, layer to mask."""

    head: str
    blocks: tuple[str, ...]
    mask_layer: str


class ModelSpec(Protocol):
    """A model's configuration.

    Some models have more. With pretrained weights they are a `Pretrained`, and if these are optional, `pretrained` is
    False for random weights. With an original in the user's own folder: a `FromFolder`. With files: `check()`, which
    raises UserError if they are not available. With a low-rank adapter: `adapter`. For text: `tokenizer(texts)`, and
    `context` if the model limits the length of sequences.
    """

    kinds: ClassVar[frozenset[str]]

    @property
    def checkpoint(self) -> Path | None:
        """A file with trained weights to use as the original, or None."""

    def build(self, info: DataInfo) -> nn.Module:
        """Return the model with random weights drawn from torch's global generator."""

    def parts(self) -> Parts:
        """Name the model's parts."""


class Pretrained(ModelSpec, Protocol):
    """A model that may start from pretrained weights."""

    def start(self, info: DataInfo) -> nn.Module:
        """Return the model with its pretrained weights."""


class FromFolder(ModelSpec, Protocol):
    """A model whose original may lie in the user's own folder (`checkpoint`), and need not be kept."""

    def finetuned(self, info: DataInfo) -> nn.Module:
        """Return the model with the weights in the folder; raise UserError if they do not fit."""

    def checkpoint_files(self) -> Mapping[str, Path]:
        """Return the files in the folder that decide the weights, by name."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples as input to a model, on the device.

    `inputs` (n, ...): images are (n, c, h, w) float32, augmented and normalised, text is (n, t) int64 token ids;
    `labels` (n,) int64, or (n, t) with IGNORED where nothing is supervised; `index` (n,) int64 are the examples'
    positions in the data set. `rows_per_example` is the mean number of supervised rows of an example in the whole
    batch, also in a part of it: `Predictions.averaged` needs it, and nobody else. `places` (n, r) int64, where text has
    them, are the places of each example's supervised tokens, filled up with -1: so no shape depends on the labels,
    which torch.func needs.
    """

    inputs: Tensor
    labels: Tensor
    index: Tensor
    rows_per_example: float | Tensor = 1.0
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, start: int, stop: int) -> Batch:
        """Return the examples start to stop, without a copy."""
        part = slice(start, stop)
        places = None if self.places is None else self.places[part]
        return Batch(self.inputs[part], self.labels[part], self.index[part], self.rows_per_example, places)

    def some(self, numbers: list[int]) -> Batch:
        """Return a copy of the examples with these numbers."""
        places = None if self.places is None else self.places[numbers]
        inputs, labels, index = (one[numbers] for one in (self.inputs, self.labels, self.index))
        return Batch(inputs, labels, index, self.rows_per_example, places)

    def repeated(self, copies: int) -> Batch:
        """Return the batch several times, one after the other."""
        import torch

        inputs, labels, index = (torch.cat([one] * copies) for one in (self.inputs, self.labels, self.index))
        places = None if self.places is None else torch.cat([self.places] * copies)
        return Batch(inputs, labels, index, self.rows_per_example, places)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Rows of `logits` (m, c) float32 with their `labels` (m,) int64.

    `example` (m,) int64 maps a row to its example in the batch, which has `examples`; a row with the number `examples`
    belongs to none, and no loss counts it. `rows_per_example` is the batch's. A loss works on rows, and returns one
    value per example: `averaged(rows)` or `summed(rows)`.
    """

    logits: Tensor
    labels: Tensor
    example: Tensor
    examples: int
    rows_per_example: float | Tensor = 1.0

    def averaged(self, rows: Tensor) -> Tensor:
        """Turn a value per row (m,) into one per example, (n,) float64, whose mean over a batch is that over its rows.

        So an example with more rows counts more, also where the batch is cut into parts.
        """
        return self.summed(rows.double()) / self.rows_per_example

    def summed(self, rows: Tensor) -> Tensor:
        """Turn a value per row (m,) into one per example, (n,): the sum over its rows."""
        return rows.new_zeros(self.examples + 1).index_add(0, self.example, rows)[: self.examples]
