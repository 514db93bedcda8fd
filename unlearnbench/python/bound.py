"""Examples in hand, bound to a model in hand: what a method or an evaluation works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from unlearnbench.contracts import DataInfo, Index, ModelSpec, Parts, Task
from unlearnbench.data.images import Augment
from unlearnbench.errors import UserError
from unlearnbench.machine.precision import Choice, Precision
from unlearnbench.models.adapter import Adapter

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


def bind(model: nn.Module, examples: Mapping[str, Examples | None], options: Options) -> Bound:
    """Bind the examples of each split to a model; raise UserError for arguments of the other kind of data."""
    given = {name: one for name, one in examples.items() if one is not None}
    if options.tokenizer is None and any(_is_rows(one) for one in given.values()):
        raise UserError(
            "rows of text need the model's tokenizer.\nTry: tokenizer=AutoTokenizer.from_pretrained(FOLDER)"
        )
    if options.tokenizer is None:
        _refuse("text", "images", adapter=options.adapter, context=options.context)
        from unlearnbench.python import images

        return images.bind(model, given, options)
    _refuse("images", "text", normalise=options.normalise, augment=options.augment)
    from unlearnbench.python import texts

    return texts.bind(model, given, options.tokenizer, options)


def _is_rows(examples: object) -> bool:
    """Return whether examples are rows of text."""
    if not isinstance(examples, Sequence) or isinstance(examples, str):
        return False
    return len(examples) > 0 and isinstance(examples[0], Mapping)


def _refuse(other: str, kind: str, **given: object) -> None:
    """Raise UserError for an argument that is for the other kind of data."""
    for name, value in given.items():
        if value is not None:
            raise UserError(f"{name} is for {other}, and these are {kind}.\nTry: without {name}=")
