"""Examples in hand, bound to a model in hand: what a method or an evaluation works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from unlearnbench.contracts import DataInfo, Index, ModelSpec, Parts
from unlearnbench.data.images import Augment
from unlearnbench.machine.precision import Choice, Precision
from unlearnbench.models.adapter import Adapter
from unlearnbench.task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Examples = object
"""Images: (images, labels) as tensors or arrays, or a torch Dataset. Text: a list of dicts."""
Normalise = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation by channel, of pixels in [0, 1]."""
Fresh = Callable[[], nn.Module]
"""Returns the model as it was before training: with random weights, or the pretrained language model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """How to read examples and run a model; None where nothing was said. `tokenizer` makes the examples text."""

    device: str
    precision: Choice
    tokenizer: PreTrainedTokenizerBase | None = None
    normalise: Normalise | None = None
    augment: Augment | Mapping[str, object] | None = None
    parts: Parts | Mapping[str, Any] | None = None
    fresh: Fresh | None = None
    adapter: Adapter | Mapping[str, object] | None = None
    context: int | None = None
    too_long: Literal["cut", "refuse"] = "cut"
    generate: int = 0

    @property
    def named(self) -> dict[str, Any]:
        """The submodules that were named, by part."""
        return dict(vars(self.parts)) if isinstance(self.parts, Parts) else dict(self.parts or {})


@dataclass(frozen=True, kw_only=True, eq=False)
class Bound:
    """A task over the examples of all splits, and which positions each split has; `twins` as in Problem."""

    task: Task
    info: DataInfo
    spec: ModelSpec
    precision: Precision
    splits: Mapping[str, Index]
    labels: Index
    twins: Index | None
