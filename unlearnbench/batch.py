"""What a model is given and what comes back: examples on the device, rows of logits, and parts that add up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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
