"""The interface of a task: all that a model can be asked to do with examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Batch, Data, Index, Predictions
from unlearnbench.evidence import Scores

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Task(Protocol):
    """The only place where images and text differ, bound to a data set, a device and a precision."""

    @property
    def head(self) -> str:
        """The name of the model's classifier."""

    @property
    def fixed(self) -> bool:
        """Whether an example looks the same whenever it is trained on: nothing is augmented."""

    @property
    def longest_answer(self) -> int:
        """The length in tokens of the longest answer that can be written out; 0 for images."""

    @property
    def limit(self) -> int | None:
        """The length in tokens at which sequences are cut; None for images."""

    @property
    def cut(self) -> int:
        """How many sequences were longer and have been cut; 0 for images."""

    @property
    def span(self) -> tuple[Tensor, Tensor] | None:
        """The lowest and highest value of a pixel in a batch, by channel, (1, c, 1, 1) each; None for text."""

    def settings(self) -> tuple[object, ...]:
        """Return the settings of the data set that can change a result; they are part of every key."""

    def on(self, data: Data) -> Task:
        """Return a task for the same model on another data set of this kind, without written answers."""

    def answers(self, index: Index) -> Index:
        """Return the answer of the examples at these positions, (n,): a class, or the column of an option."""

    def choices(self, index: Index) -> NDArray[np.bool_]:
        """Return which answers these examples can have, (n, c): every class, or the columns of their options."""

    def answering(self, index: Index, answers: Index) -> Task:
        """Return this task with other answers, (n,), for the examples at these positions: `batch` then has them."""

    def shortened(self, index: Index, longer: int = 0) -> tuple[object, ...]:
        """Return which of these examples are cut if a prompt adds `longer` tokens; part of their key."""

    def batch(self, index: Index, generator: torch.Generator | None, epoch: int = 0, seed: int = 0) -> Batch:
        """Return the examples at these positions, augmented if a generator is given.

        `seed` is the same for a whole training and decides what spans epochs, such as when an image is mirrored first.
        """

    def answered(self, index: Index, answers: Sequence[str]) -> Batch:
        """Return the questions at these positions with other answers than their own; images have none."""

    def rewritten(self, model: nn.Module, index: Index, instruction: str, temperature: float) -> list[str]:
        """Let a model write other answers to the questions at these positions, "" where it fails; images have none."""

    def fetch(self, index: Index) -> None:
        """Start to read the examples at these positions in the background, if that takes time: `batch` is next."""

    def arranged(self, index: Index, sizes: Sequence[int], generator: torch.Generator) -> list[Index]:
        """Split shuffled positions into batches in random order; similar text lengths together."""

    def predict(self, model: nn.Module, batch: Batch, inputs: Tensor | None = None) -> Predictions:
        """Run the model as in training, in the run's precision; on other floats of the shape of `inputs`, if given."""

    def features(self, model: nn.Module, batch: Batch) -> tuple[Predictions, Tensor]:
        """Run the model; also return what its classifier gets for each row, (m, d) float32."""

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the batch as floats that can take a gradient: images, or token embeddings."""

    def hidden(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return the named submodule's output for the batch, (n, ...) float32."""

    def represent(self, model: nn.Module, batch: Batch, layer: str) -> Predictions:
        """Return the named submodule's output where each row is predicted, (m, d) float32, in place of the logits."""

    def states(self, model: nn.Module, index: Index, layers: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return what each of the named submodules makes of the examples at these positions, (n, d) each.

        One row an example: of images the mean over places, of text the last token before the answer.
        """

    def score(self, model: nn.Module, index: Index) -> Scores:
        """Evaluate the model on the examples at these positions, in order, without augmentation."""

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move the model to the device and into the memory layout of the run's precision."""

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write a model in the usual format of its libraries, in addition to what `results` writes."""
