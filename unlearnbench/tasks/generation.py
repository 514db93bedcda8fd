"""Generate answers, greedily or by sampling, up to the length of the data's longest answer and within the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlearnbench.models.wrapper import Wrapper, inner, longer
from unlearnbench.tasks.conversation import Tokens


def greedy(model: nn.Module, prompts: Sequence[Tokens], most: int, limit: int, padding: int) -> list[Tokens]:
    """Continue each prompt with the most likely tokens until the answer ends or has `most` tokens.

    `limit` is the longest whole sequence.
    """
    return _written(model, prompts, most, limit, padding, None)


def sampled(
    model: nn.Module, prompts: Sequence[Tokens], most: int, limit: int, padding: int, temperature: float
) -> list[Tokens]:
    """Continue each prompt with tokens drawn by torch's global generator from softmax(logits / temperature).

    The other arguments are those of `greedy`.
    """
    return _written(model, prompts, most, limit, padding, temperature)


def _written(
    model: nn.Module, prompts: Sequence[Tokens], most: int, limit: int, padding: int, temperature: float | None
) -> list[Tokens]:
    """Continue each prompt, in one batch for each number of tokens that there is room for."""
    rooms = [min(most, limit - len(prompt) - longer(model)) for prompt in prompts]
    said = model.said(prompts) if isinstance(model, Wrapper) else [None] * len(prompts)
    written = [tokens[:room] if tokens is not None else [] for tokens, room in zip(said, rooms, strict=True)]
    open_ = [place for place, tokens in enumerate(said) if tokens is None]
    for room in sorted({rooms[place] for place in open_}):
        places = [place for place in open_ if rooms[place] == room]
        continued = _continued(model, [prompts[place] for place in places], room, padding, temperature)
        for place, tokens in zip(places, continued, strict=True):
            written[place] = tokens
    return written


def _continued(
    model: nn.Module, prompts: Sequence[Tokens], room: int, padding: int, temperature: float | None
) -> list[Tokens]:
    """Continue prompts in one batch, padded on the left, by at most `room` tokens."""
    device = next(model.parameters()).device
    seen = model.seen(prompts) if isinstance(model, Wrapper) else [torch.tensor(one, device=device) for one in prompts]
    longest = max(len(one) for one in seen)
    inputs = torch.stack([_padded(one, longest) for one in seen])
    mask = torch.stack([_padded(torch.ones(len(one), dtype=torch.int64, device=device), longest) for one in seen])
    tokens = inputs.ndim == 2
    drawing: dict[str, Any] = {"do_sample": False}
    if temperature is not None:
        drawing = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    language: Any = inner(model)
    out = language.generate(
        **{"inputs" if tokens else "inputs_embeds": inputs},
        attention_mask=mask,
        max_new_tokens=room,
        **drawing,
        pad_token_id=padding,
    )
    found: list[Tokens] = (out[:, longest:] if tokens else out).tolist()  # behind embeddings only the new tokens
    return found


def _padded(sequence: Tensor, longest: int) -> Tensor:
    """Return a sequence (t, ...) with zeros before it up to `longest`."""
    return torch.cat([sequence.new_zeros(longest - len(sequence), *sequence.shape[1:]), sequence])
