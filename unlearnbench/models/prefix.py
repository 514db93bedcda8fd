"""A prompt as a module: tokens, or learnt embeddings, before every sequence that a language model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.models.wrapper import Tokens, Wrapper, embedded, inner

NAME, REPLACED, SOFT = "prefix_tokens", "replaced_tokens", "prompt_embeddings"


class Prefixed(Wrapper):
    """A model that sees `prefix_tokens` (p,) int64 in place of each sequence's first `replaced` tokens."""

    kind: ClassVar[str] = "prefix"

    def __init__(self, model: nn.Module, prefix: Tensor, replaced: int) -> None:
        super().__init__(model)
        self.register_buffer(NAME, prefix)
        self.register_buffer(REPLACED, torch.tensor(replaced))

    @classmethod
    def of(cls, model: nn.Module, tensors: Mapping[str, Tensor]) -> Self:
        """Return the model behind a stored prompt."""
        return cls(model, tensors[NAME].to(next(model.parameters()).device), int(tensors[REPLACED]))

    @property
    def prefix(self) -> Tensor:
        """The tokens, (p,) int64."""
        return self.get_buffer(NAME)

    @property
    def replaced(self) -> int:
        """How many tokens at the start of a sequence the prefix replaces."""
        return int(self.get_buffer(REPLACED))

    @property
    def longer(self) -> int:
        """The tokens of the prefix, less those that it replaces."""
        return len(self.prefix) - self.replaced

    def seen(self, prompts: Sequence[Tokens]) -> list[Tensor]:
        """Return the prompts with the prefix."""
        return [torch.cat([self.prefix, prompt[self.replaced :]]) for prompt in super().seen(prompts)]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **named: Any,
    ) -> Any:
        """Run the model inside on the longer sequences.

        Masks are (n, 1, t, t) bool, as scoring packs them.
        """
        tokens = torch.cat([self.prefix.expand(len(input_ids), -1), input_ids[:, self.replaced :]], dim=1)
        moved = _behind(len(self.prefix), self.replaced, attention_mask, position_ids)
        return self.model(input_ids=tokens, **moved, **named)


class SoftPrompt(Wrapper):
    """A model that sees `prompt_embeddings` (p, d) float32, which can learn, before each sequence."""

    kind: ClassVar[str] = "soft_prompt"

    def __init__(self, model: nn.Module, embeddings: Tensor) -> None:
        super().__init__(model)
        width = inner_width(model)
        if embeddings.ndim != 2 or not len(embeddings) or embeddings.shape[1] != width:
            raise ValueError(f"expected learnt embeddings of shape (tokens, {width}), got {tuple(embeddings.shape)}")
        self.register_parameter(SOFT, nn.Parameter(embeddings))

    @classmethod
    def of(cls, model: nn.Module, tensors: Mapping[str, Tensor]) -> Self:
        """Return the model behind stored embeddings."""
        return cls(model, tensors[SOFT].to(next(model.parameters()).device).clone())

    @property
    def embeddings(self) -> Tensor:
        """What is learnt, (p, d) float32."""
        return self.get_parameter(SOFT)

    @property
    def longer(self) -> int:
        """The number of learnt embeddings."""
        return len(self.embeddings)

    def seen(self, prompts: Sequence[Tokens]) -> list[Tensor]:
        """Return the prompts' embeddings behind the learnt ones."""
        return [self._longer(embedded(self, prompt[None]))[0] for prompt in super().seen(prompts)]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **named: Any,
    ) -> Any:
        """Run the model inside on the longer sequences, given as embeddings; masks are (n, 1, t, t) bool."""
        moved = _behind(len(self.embeddings), 0, attention_mask, position_ids)
        return self.model(inputs_embeds=self._longer(embedded(self, input_ids)), **moved, **named)

    def _longer(self, words: Tensor) -> Tensor:
        """Put the learnt embeddings before those of sequences, (n, t, d)."""
        return torch.cat([self.embeddings.to(words.dtype).expand(len(words), -1, -1), words], dim=1)


def inner_width(model: nn.Module) -> int:
    """Return how many numbers an embedding of the model has."""
    table: Any = inner(model)
    width: int = table.get_input_embeddings().weight.shape[1]
    return width


def _behind(length: int, replaced: int, mask: Tensor | None, positions: Tensor | None) -> dict[str, Tensor | None]:
    """Move positions (n, t) and a mask (n, 1, t, t) bool behind a prompt in place of the first `replaced` tokens."""
    if positions is not None:
        start = torch.arange(length, device=positions.device).expand(len(positions), -1)
        positions = torch.cat([start, positions[:, replaced:] + length - replaced], dim=1)
    if mask is not None:
        mask = functional.pad(mask[:, :, replaced:, replaced:], (length, 0, length, 0), value=True)
        mask[:, :, :length] = torch.ones_like(mask[:, :, :length]).tril()
    return {"attention_mask": mask, "position_ids": positions}
