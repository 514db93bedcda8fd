"""A prompt as a module: tokens put before every sequence that a language model sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "prefix_tokens"


class Prefixed(nn.Module):
    """A causal language model that sees `prefix_tokens` (p,) int64 in place of each sequence's first `replaced` tokens.

    Outputs stay aligned with the end of the inputs: position -i of the output belongs to position -i of the input.
    """

    def __init__(self, model: nn.Module, prefix: Tensor, replaced: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer(NAME, prefix)
        self.register_buffer("replaced_tokens", torch.tensor(replaced))

    @property
    def prefix(self) -> Tensor:
        """The tokens, (p,) int64."""
        return self.get_buffer(NAME)

    @property
    def replaced(self) -> int:
        """How many tokens at the start of a sequence the prefix replaces."""
        return int(self.get_buffer("replaced_tokens"))

    def tokens(self, inputs: Tensor) -> Tensor:
        """Return the sequences (n, t) as the inner model sees them, (n, p + t - replaced)."""
        return torch.cat([self.prefix.expand(len(inputs), -1), inputs[:, self.replaced :]], dim=1)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **named: Any,
    ) -> Any:
        """Run the inner model on the longer sequences.

        Masks are (n, 1, t, t) bool, as scoring packs them.
        """
        longer = len(self.prefix) - self.replaced
        if position_ids is not None:
            start = torch.arange(len(self.prefix), device=input_ids.device).expand(len(input_ids), -1)
            position_ids = torch.cat([start, position_ids[:, self.replaced :] + longer], dim=1)
        if attention_mask is not None:
            inner = attention_mask[:, :, self.replaced :, self.replaced :]
            mask = functional.pad(inner, (len(self.prefix), 0, len(self.prefix), 0), value=True)
            mask[:, :, : len(self.prefix)] = torch.ones_like(mask[:, :, : len(self.prefix)]).tril()
            attention_mask = mask
        return self.model(
            input_ids=self.tokens(input_ids), attention_mask=attention_mask, position_ids=position_ids, **named
        )


def inner(model: nn.Module) -> nn.Module:
    """Return the model inside a prefix, or the model itself."""
    return model.model if isinstance(model, Prefixed) and isinstance(model.model, nn.Module) else model


def longer(model: nn.Module) -> int:
    """Return how many tokens the model's prompt adds to a sequence; 0 without a prompt."""
    return len(model.prefix) - model.replaced if isinstance(model, Prefixed) else 0
