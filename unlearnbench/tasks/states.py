"""What the layers of a language model make of questions: one row of numbers per question and layer, for probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearnbench.contracts import Index
from unlearnbench.models.hooks import outputs_of
from unlearnbench.models.modes import evaluating
from unlearnbench.models.screened import padded
from unlearnbench.tasks.options import by_length, only_at

if TYPE_CHECKING:
    from unlearnbench.tasks.text import TextTask

States = dict[str, NDArray[np.float32]]
TOKENS = 4096
"""Tokens per forward pass, padding included."""


def of_texts(task: TextTask, model: nn.Module, index: Index, layers: Sequence[str]) -> States:
    """Return each layer's output at the last token before the answer, (n, d).

    The model sees the prompts alone, without what may be around it.
    """
    prompts = [task.prompt(place) for place in index.tolist()]
    found: list[Mapping[str, Tensor]] = []
    batches = list(by_length([len(prompt) for prompt in prompts], TOKENS, task.score_batch))
    with evaluating(model), torch.inference_mode(), task.autocast():
        for places in batches:
            tokens, lengths = (one.to(task.device) for one in padded([prompts[place] for place in places]))
            row = torch.arange(len(tokens), device=task.device)
            with only_at(model, row, lengths - 1, tokens.shape[1], exact=False):
                out = outputs_of(
                    model, layers, lambda tokens=tokens: model(input_ids=tokens, use_cache=False)  # type: ignore[misc]
                )  # fmt: skip
            found.append({layer: one[row, lengths - 1] for layer, one in out.items()})
    back = np.argsort(np.concatenate(batches), kind="stable")
    return {layer: torch.cat([one[layer] for one in found]).cpu().numpy()[back] for layer in layers}
