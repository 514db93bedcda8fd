"""Score answer options as branches after their shared prompt, or each as its own sequence.

Branches compute the prompt only once, but are exact only if a model obeys the given attention mask and positions. We
use them where that is tested (tests/tasks/test_tasks_architectures.py), and plain sequences for other models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.models.ensemble import members
from unlearnbench.models.screened import Screened
from unlearnbench.models.wrapper import asked, inner
from unlearnbench.tasks.conversation import Tokens

BRANCHED = frozenset(
    {
        "codegen", "cohere", "gemma", "gemma3_text", "gpt2", "gpt_neox", "gptj", "granite",
        "llama", "mistral", "olmo2", "phi", "phi3", "qwen2", "qwen3", "stablelm",
    }
)  # fmt: skip
"""The model types of transformers that support branches."""
WINDOWS = ("sliding_window", "window_size", "attention_window", "attention_chunk_size")
"""Configuration keys for how far back a token can see."""
BY_LENGTH = ("dynamic", "longrope")
"""Rotary embeddings that depend on the longest sequence of a forward pass."""
AT_ONCE = {"cpu": 2**19}
"""The logits whose spread is computed at once, by device: on a CPU few enough to stay in its cache."""
LEAST = -1e4
"""A log-probability whose probability is 0."""

Options = Sequence[Sequence[tuple[int, Tokens]]]
Places = Sequence[Sequence[int]]
EARLIER = -1
"""Stands for a column where a token is of an answer before the last one."""


@dataclass(frozen=True)
class Layout:
    """How to score options: as branches or not, and whether to run each sequence alone."""

    branches: bool
    one_by_one: bool


@dataclass(frozen=True, eq=False)
class Packed:
    """Questions with their options as n sequences, padded to t tokens, with m option tokens in all.

    `inputs` is (n, t) int64. Branches also have `mask` (n, 1, t, t) bool (a token sees the prompt and its own option so
    far) and `positions` (n, t) int64; for plain sequences both are None. `prompt_tokens` (n,) int64 counts the tokens
    of each sequence's prompt. For each option token, (m,) each: `row` is its sequence, `before` the place of the token
    that predicts it, `token` its id, then its `question` and `option` column (EARLIER: it is of an answer within the
    prompt).
    """

    inputs: Tensor
    mask: Tensor | None
    positions: Tensor | None
    row: Tensor
    before: Tensor
    token: Tensor
    question: Tensor
    option: Tensor
    prompt_tokens: Tensor


@dataclass(frozen=True, eq=False)
class Found:
    """What a model says of m option tokens.

    `log_probability` (m,) float32, `hit` (m,) bool: it is the most likely token; `withheld` (m,) bool: the model
    withholds its answer to the question. `mean` and `deviation` (m,) float32 are those of the log-probability, over the
    vocabulary by its probabilities.
    """

    log_probability: Tensor
    hit: Tensor
    withheld: Tensor
    mean: Tensor
    deviation: Tensor

    @staticmethod
    def joined(parts: Sequence[Found]) -> Found:
        """Return what is said in several forward passes as one, on the CPU."""
        return Found(*(torch.cat([vars(part)[one.name] for part in parts]).cpu() for one in fields(Found)))


def may_branch(config: Any, longest: int) -> bool:
    """Return whether a model with this configuration supports branches, at up to `longest` tokens."""
    windows = [getattr(config, name, None) for name in WINDOWS]
    all_seen = not any(isinstance(window, int) and window < longest for window in windows)
    return config.model_type in BRANCHED and all_seen and not goes_by_length(config, longest)


def goes_by_length(config: Any, longest: int) -> bool:
    """Return whether outputs depend on the longest sequence in a batch: then run each alone."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, Mapping))]
    changing = [kind for kind in kinds if kind.get("rope_type", kind.get("type")) in BY_LENGTH]
    if not changing:
        return False
    made_for = getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
    return any(longest > kind.get("original_max_position_embeddings", made_for) for kind in changing)


def apart(prompts: Sequence[Tokens], options: Options, earlier: Places) -> Packed:
    """Make a separate sequence of each prompt with each of its options, given as (column, tokens).

    `earlier` are the places of prompt tokens to score too.
    """
    sequences: list[Tokens] = []
    lengths: list[int] = []
    rows: list[tuple[int, int, int, int, int]] = []
    for question, (prompt, choices) in enumerate(zip(prompts, options, strict=True)):
        rows += [(len(sequences), place - 1, prompt[place], question, EARLIER) for place in earlier[question]]
        for column, tokens in choices:
            places = range(len(prompt) - 1, len(prompt) + len(tokens) - 1)
            rows += [
                (len(sequences), where, token, question, column) for where, token in zip(places, tokens, strict=True)
            ]
            sequences.append([*prompt, *tokens])
            lengths.append(len(prompt))
    inputs = torch.zeros(len(sequences), max(len(tokens) for tokens in sequences), dtype=torch.int64)
    for number, tokens in enumerate(sequences):
        inputs[number, : len(tokens)] = torch.tensor(tokens)
    row, before, token, question_, option = torch.tensor(rows, dtype=torch.int64).unbind(1)
    return Packed(inputs, None, None, row, before, token, question_, option, torch.tensor(lengths))


def branched(prompts: Sequence[Tokens], options: Options, earlier: Places) -> Packed:
    """Pack each prompt with its options, given as (column, tokens), as branches after it.

    `earlier` are the places of prompt tokens to score too.
    """
    longest = max(len(p) + sum(len(o) for _, o in branch) for p, branch in zip(prompts, options, strict=True))
    inputs = torch.zeros(len(prompts), longest, dtype=torch.int64)
    positions, branch_of = torch.zeros_like(inputs), torch.full_like(inputs, -1)
    rows: list[tuple[int, int, int, int]] = []
    for number, (prompt, branches) in enumerate(zip(prompts, options, strict=True)):
        inputs[number, : len(prompt)] = torch.tensor(prompt)
        positions[number, : len(prompt)] = torch.arange(len(prompt))
        branch_of[number, : len(prompt)] = 0
        rows += [(number, place - 1, prompt[place], EARLIER) for place in earlier[number]]
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
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    return Packed(inputs, _tree(branch_of), positions, row, before_, token, row, option, lengths)


def _tree(branch_of: Tensor) -> Tensor:
    """Return which tokens see which, (n, 1, t, t) bool: prompt (0) and own branch so far."""
    same = branch_of[:, :, None] == branch_of[:, None, :]
    prompt = (branch_of == 0)[:, None, :]
    length = branch_of.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    return ((same | prompt) & earlier)[:, None]


def alone(packed: Packed) -> Iterator[Packed]:
    """Yield plain sequences one by one, without padding."""
    for number in range(len(packed.inputs)):
        mine = packed.row == number
        length = int(packed.before[mine].max()) + 2
        row, before = torch.zeros_like(packed.row[mine]), packed.before[mine]
        inputs = packed.inputs[number : number + 1, :length]
        token, question, option = (one[mine] for one in (packed.token, packed.question, packed.option))
        prompt = packed.prompt_tokens[number : number + 1]
        yield Packed(inputs, None, None, row, before, token, question, option, prompt)


def by_length(lengths: Sequence[int], budget: int, most: int) -> Iterator[list[int]]:
    """Yield batches of places in `lengths` (n,), shortest first, within a token budget."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and ((len(batch) + 1) * lengths[place] > budget or len(batch) == most):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def forward(model: nn.Module, packed: Packed, exact: bool) -> Found:
    """Run the model once on the packed questions.

    `exact` computes the output layer in float32, whatever the precision of the other layers.
    """
    device = next(model.parameters()).device
    named = {"attention_mask": packed.mask, "position_ids": packed.positions}
    given = {name: tensor.to(device) for name, tensor in named.items() if tensor is not None}
    given |= asked(model, lambda: packed.prompt_tokens.to(device))
    inputs, row, before, token = (
        tensor.to(device) for tensor in (packed.inputs, packed.row, packed.before, packed.token)
    )
    with only_at(model, row, before, inputs.shape[1], exact=exact):
        out = model(input_ids=inputs, use_cache=False, **given)
    log_probabilities = out.logits.float().log_softmax(dim=1)
    chosen = log_probabilities.gather(1, token[:, None])[:, 0]
    withheld = out.withheld[row] if isinstance(out, Screened) else torch.zeros_like(token, dtype=torch.bool)
    return Found(chosen, log_probabilities.argmax(dim=1) == token, withheld, *spread(log_probabilities))


def spread(log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the log-probability (m, vocabulary) under itself, (m,) each.

    A few rows at a time, so that there is no second array of this size.
    """
    rows = max(AT_ONCE.get(log_probabilities.device.type, 2**26) // log_probabilities.shape[1], 1)
    means, deviations = [], []
    for some in torch.split(log_probabilities, rows):
        some = some.clamp_min(LEAST)  # 0 times minus infinity is not a number
        weight = some.exp()
        mean = (weight * some).sum(dim=1)  # a product of vectors would be in bfloat16 under autocast
        means.append(mean)
        deviations.append((some - mean[:, None]).square_().mul_(weight).sum(dim=1).sqrt())
    return torch.cat(means), torch.cat(deviations)


def heads_of(model: nn.Module) -> list[nn.Module]:
    """Return the output layer, looking through wrappers (an adapter, a prompt); of an ensemble, each member's."""
    found: list[Any] = members(inner(model))
    return [member.get_output_embeddings() for member in found]


@contextmanager
def only_at(model: nn.Module, row: Tensor, place: Tensor, length: int, exact: bool) -> Iterator[None]:
    """Make the model's output layer compute logits only at (row, place) inside the block, (m, vocabulary).

    `place` refers to inputs of `length` tokens; hidden states are aligned with their end. `exact` computes in float32,
    whatever the precision of the other layers.
    """

    def forward(head: nn.Module, hidden: Tensor) -> Tensor:
        picked = hidden[:, hidden.shape[1] - length :][row, place]
        if not (exact and isinstance(head, nn.Linear)):
            out: Tensor = type(head).forward(head, picked)
            return out
        with torch.autocast(hidden.device.type, enabled=False):
            bias = None if head.bias is None else head.bias.float()
            return functional.linear(picked.float(), head.weight.float(), bias)

    heads = heads_of(model)
    for head in heads:
        head.forward = partial(forward, head)
    try:
        yield
    finally:
        for head in heads:
            del head.forward
