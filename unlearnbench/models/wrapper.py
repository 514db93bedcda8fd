"""What can be around a language model whose weights stay: a prompt, a corruption of the input, a filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

Tokens = list[int]


class Wrapper(nn.Module):
    """A causal language model that changes what the `model` inside sees or says, with a few tensors of its own.

    `kind` names it in files. Outputs stay aligned with the end of the inputs: position -i of the output belongs to
    position -i of the input. One that `asks` also takes `prompt_tokens` (n,), how many of a sequence's tokens come
    before the answer; without them, all do.
    """

    kind: ClassVar[str]
    asks: ClassVar[bool] = False

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def longer(self) -> int:
        """How many tokens it adds to a sequence."""
        return 0

    def own(self) -> dict[str, Tensor]:
        """Return its own tensors by name, without those of the model inside."""
        tensors = (*self.named_parameters(recurse=False), *self.named_buffers(recurse=False))
        return {name: tensor.detach() for name, tensor in tensors}

    @classmethod
    def of(cls, model: nn.Module, tensors: Mapping[str, Tensor]) -> Self:
        """Return the wrapper with these tensors around a model; raise KeyError or ValueError if they do not fit."""
        raise NotImplementedError

    def around(self, model: nn.Module) -> Self:
        """Return the same wrapper around another model."""
        return type(self).of(model, self.own()).train(self.training)

    def seen(self, prompts: Sequence[Tokens]) -> list[Tensor]:
        """Return what the model inside sees of each prompt: tokens (t,) int64, or embeddings (t, d)."""
        device = next(self.model.parameters()).device
        return [torch.tensor(prompt, device=device) for prompt in prompts]

    def said(self, prompts: Sequence[Tokens]) -> list[Tokens | None]:
        """Return the answers that it gives in place of the model inside; None where that one answers."""
        return [None] * len(prompts)


def inner(model: nn.Module) -> nn.Module:
    """Return the model inside all wrappers, or the model itself."""
    while isinstance(model, Wrapper):
        model = model.model
    return model


def longer(model: nn.Module) -> int:
    """Return how many tokens what is around the model adds to a sequence; 0 without anything."""
    return model.longer + longer(model.model) if isinstance(model, Wrapper) else 0


def embedded(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the embeddings of tokens (...) as the model inside all wrappers sees them, (..., d)."""
    table: Any = inner(model)
    found: Tensor = table.get_input_embeddings()(tokens)
    return found


def asked(model: nn.Module, prompt_tokens: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Return the lengths of the prompts, (n,) int64, as an argument by name; counted only for a model that asks."""
    return {"prompt_tokens": prompt_tokens()} if isinstance(model, Wrapper) and model.asks else {}
