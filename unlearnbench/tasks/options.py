"""Answer options scored in one forward pass: the shared prompt once, each option as a branch behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.tasks.encoding import Tokens


@dataclass(frozen=True, eq=False)
class Packed:
    """Prompts (n) with their options as branches, padded to t tokens; m option tokens in all.

    `inputs` (n, t) int64, `mask` (n, 1, t, t) bool (a token sees the prompt and its own option so far), `positions`
    (n, t) int64. Of each option token: `row` (m,) its prompt, `before` (m,) the place of the token that predicts it,
    `token` (m,), `option` (m,) its column.
    """

    inputs: Tensor
    mask: Tensor
    positions: Tensor
    row: Tensor
    before: Tensor
    token: Tensor
    option: Tensor


def pack(prompts: Sequence[Tokens], options: Sequence[Sequence[tuple[int, Tokens]]]) -> Packed:
    """Pack prompts with their options, (column, tokens) each."""
    longest = max(len(p) + sum(len(o) for _, o in branch) for p, branch in zip(prompts, options, strict=True))
    inputs = torch.zeros(len(prompts), longest, dtype=torch.int64)
    positions, branch_of = torch.zeros_like(inputs), torch.full_like(inputs, -1)
    rows: list[tuple[int, int, int, int]] = []
    for number, (prompt, branches) in enumerate(zip(prompts, options, strict=True)):
        inputs[number, : len(prompt)] = torch.tensor(prompt)
        positions[number, : len(prompt)] = torch.arange(len(prompt))
        branch_of[number, : len(prompt)] = 0
        place = len(prompt)
        for branch, (column, tokens) in enumerate(branches, 1):
            end = place + len(tokens)
            inputs[number, place:end] = torch.tensor(tokens)
            positions[number, place:end] = torch.arange(len(prompt), len(prompt) + len(tokens))
            branch_of[number, place:end] = branch
            before = [len(prompt) - 1, *range(place, end - 1)]
            rows += [(number, where, token, column) for where, token in zip(before, tokens, strict=True)]
            place = end
    row, before_, token, option = torch.tensor(rows, dtype=torch.int64).unbind(1)
    return Packed(inputs, _tree(branch_of), positions, row, before_, token, option)


def _tree(branch_of: Tensor) -> Tensor:
    """Say which tokens see which, (n, 1, t, t) bool: earlier ones of the prompt (0) or of the own branch."""
    same = branch_of[:, :, None] == branch_of[:, None, :]
    prompt = (branch_of == 0)[:, None, :]
    length = branch_of.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    return ((same | prompt) & earlier)[:, None]


@contextmanager
def only_at(head: nn.Module, row: Tensor, place: Tensor, length: int, exact: bool) -> Iterator[None]:
    """Inside the block the output layer computes logits at (row, place) alone, (m, vocabulary).

    `place` counts in inputs of `length` tokens, whose end the hidden states are aligned with. `exact` computes in
    float32 whatever the precision before it.
    """

    def forward(hidden: Tensor) -> Tensor:
        picked = hidden[:, hidden.shape[1] - length :][row, place]
        if not exact:
            out: Tensor = type(head).forward(head, picked)
            return out
        with torch.autocast(hidden.device.type, enabled=False):
            weight = head.get_parameter("weight")
            return functional.linear(picked.float(), weight.float())

    head.forward = forward
    try:
        yield
    finally:
        del head.forward
