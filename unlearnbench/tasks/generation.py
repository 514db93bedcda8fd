"""Generate answers greedily, up to the length of the data's longest answer and within the context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from unlearnbench.models.prefix import Prefixed, inner
from unlearnbench.tasks.conversation import Tokens


def greedy(model: nn.Module, prompts: Sequence[Tokens], most: int, limit: int, padding: int) -> list[Tokens]:
    """Continue each prompt with the most likely tokens until the answer ends or has `most` tokens.

    `limit` is the longest whole sequence.
    """
    if isinstance(model, Prefixed):
        prompts = [[*model.prefix.tolist(), *prompt[model.replaced :]] for prompt in prompts]
    rooms = [min(most, limit - len(prompt)) for prompt in prompts]
    written: list[Tokens] = [[] for _ in prompts]
    for room in sorted(set(rooms)):
        places = [place for place, own in enumerate(rooms) if own == room]
        continued = _continued(model, [prompts[place] for place in places], room, padding)
        for place, tokens in zip(places, continued, strict=True):
            written[place] = tokens
    return written


def _continued(model: nn.Module, prompts: Sequence[Tokens], room: int, padding: int) -> list[Tokens]:
    """Continue prompts in one batch, padded on the left, by at most `room` tokens."""
    device = next(model.parameters()).device
    longest = max(len(prompt) for prompt in prompts)
    inputs = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    out = cast(Any, inner(model)).generate(
        inputs=torch.tensor(inputs, device=device),
        attention_mask=torch.tensor(mask, device=device),
        max_new_tokens=room,
        do_sample=False,
        pad_token_id=padding,
    )
    found: list[Tokens] = out[:, longest:].tolist()
    return found
