"""What the evaluation sees: one row of scores per example, for every model and split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Array = NDArray[np.generic]
ROLES = ("original", "retrained", "unlearned")
"""The models of every run; an evaluation may have others beside them."""
OPTIONS = "options"
"""What scores have with more than one class or answer option to choose from; metrics may need it."""


@dataclass(frozen=True, eq=False)
class Scores:
    """A model's outputs on a split, one row per example.

    `logits` (n, c) float32 over the classes or answer options (ragged options are padded with -inf),
    `label` (n,) int64 the answer the example was or would be trained on, `index` (n,) int64 its
    position in the data set, `extras` further arrays of n rows by name (text; `cluster` among them).
    """

    logits: Floats
    label: Integers
    index: Integers
    extras: Mapping[str, Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def log_probabilities(self) -> Floats:
        """Log-softmax of the logits, (n, c) float64; -inf where an option does not exist."""
        from scipy.special import log_softmax

        values: Floats = log_softmax(self.logits.astype(np.float64), axis=1)
        return values

    @cached_property
    def probabilities(self) -> Floats:
        """Softmax of the logits, (n, c) float64; 0 where an option does not exist."""
        return np.exp(self.log_probabilities)

    @cached_property
    def prediction(self) -> Integers:
        """The arg-max of the logits, (n,) int64."""
        best: Integers = self.logits.argmax(axis=1)
        return best

    @property
    def cluster(self) -> Array:
        """Equal for rows that are not independent of each other, (n,): what the data name, else each row by itself."""
        return self.extras.get("cluster", self.index)

    @property
    def known(self) -> frozenset[str]:
        """What the scores have for metrics that need more than logits: the extras' names, and perhaps OPTIONS."""
        return frozenset(self.extras) | ({OPTIONS} if self.logits.shape[1] > 1 else set())

    @cached_property
    def loss(self) -> Floats:
        """Cross-entropy in nats, (n,) float64: of the label, or without options the mean of the answer's tokens."""
        if OPTIONS not in self.known and "answer_log_probability" in self.extras:
            mean: Floats = np.nanmean(self.extras["answer_log_probability"].astype(np.float64), axis=1)
            return -mean
        return -self.log_probabilities[np.arange(len(self)), self.label]

    @property
    def answer_hits(self) -> Integers:
        """1 where an answer's token is the most likely one, else 0, (n, t) int64; -1 from the end of its turn on."""
        hits = self.extras["answer_hit"].astype(np.int64)
        own = (hits >= 0).sum(axis=1) - self.extras["answer_end_tokens"].astype(np.int64)
        kept: Integers = np.where(np.arange(hits.shape[1]) < own[:, None], hits, -1)
        return kept

    @property
    def right(self) -> tuple[str, Floats]:
        """How right each row is, (n,) float64 in [0, 1], after the name of the metric that is its mean.

        With options, 1 where the label is chosen; without, the share of the answer's tokens that are the most likely.
        """
        if OPTIONS in self.known:
            return "accuracy", (self.prediction == self.label).astype(np.float64)
        hits = self.answer_hits
        return "exact_memorisation", (hits == 1).sum(axis=1) / (hits >= 0).sum(axis=1)

    def rows(self, chosen: NDArray[np.bool_] | Integers) -> Scores:
        """Return the scores of the chosen rows (a boolean mask or positions)."""
        extras = {name: array[chosen] for name, array in self.extras.items()}
        return Scores(self.logits[chosen], self.label[chosen], self.index[chosen], extras)

    def tensors(self) -> dict[str, Tensor]:
        """Return the arrays as tensors; text becomes UTF-8 bytes, (n, b) uint8 padded with 0, under "text.<name>"."""
        import torch

        arrays: dict[str, Array] = {"logits": self.logits, "label": self.label, "index": self.index}
        for name, values in self.extras.items():
            if values.dtype.kind == "U":
                width = max([1, *(len(text.encode()) for text in values.tolist())])
                encoded = np.array([text.encode() for text in values.tolist()], dtype=f"S{width}")
                arrays[f"text.{name}"] = encoded.view(np.uint8).reshape(len(values), width)
            else:
                arrays[name] = values
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> Scores:
        """Return what `tensors` made."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        logits, label, index = (arrays.pop(name) for name in ("logits", "label", "index"))
        extras: dict[str, Array] = {}
        for name, values in arrays.items():
            if name.startswith("text."):
                texts = np.ascontiguousarray(values).view(f"S{values.shape[1]}")[:, 0]
                extras[name.removeprefix("text.")] = np.array([text.decode() for text in texts.tolist()], dtype=str)
            else:
                extras[name] = values
        return Scores(logits, label, index, extras)


BySplit = Mapping[str, Scores]
"""Scores of one model by split: retain, forget, test; test_retain and test_forget for class-like forget sets."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a metric may look at when it judges one model, the `subject`.

    `references` are the retrained models it is compared with, `incompetent` random-weight networks
    (scored on forget and test_forget alone), `whole_class` says that the forget set is a class or subclass.
    """

    subject: BySplit
    original: BySplit
    references: tuple[BySplit, ...]
    incompetent: tuple[BySplit, ...]
    whole_class: bool
    seed: int = 0
