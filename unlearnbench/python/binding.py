"""Examples in hand of either kind, bound to a model in hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from unlearnbench.errors import UserError
from unlearnbench.python import images, texts
from unlearnbench.python.bound import Bound, Examples, Options


def bind(model: nn.Module, examples: Mapping[str, Examples | None], options: Options) -> Bound:
    """Bind the examples of each split to a model; raise UserError for arguments of the other kind of data."""
    given = {name: one for name, one in examples.items() if one is not None}
    if options.tokenizer is None and any(_is_rows(one) for one in given.values()):
        raise UserError(
            "rows of text need the model's tokenizer.\nTry: tokenizer=AutoTokenizer.from_pretrained(FOLDER)"
        )
    if options.tokenizer is None:
        _refuse("text", "images", adapter=options.adapter, context=options.context)
        return images.bind(model, given, options)
    _refuse("images", "text", normalise=options.normalise, augment=options.augment)
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
