"""Score a language model on questions: the likelihood of every option, the tokens of answers, written answers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearnbench.contracts import Index
from unlearnbench.evidence import Scores
from unlearnbench.models.modes import evaluating
from unlearnbench.models.prefix import Prefixed
from unlearnbench.models.wrapper import inner, longer
from unlearnbench.tasks.examples import examples
from unlearnbench.tasks.generation import greedy
from unlearnbench.tasks.options import (
    EARLIER,
    Found,
    Layout,
    Packed,
    alone,
    apart,
    branched,
    by_length,
    forward,
    goes_by_length,
    may_branch,
)  # fmt: skip

if TYPE_CHECKING:
    from unlearnbench.tasks.text import TextTask

FORWARD_TOKENS = 4096
"""Tokens per forward pass in scoring, padding included."""
TIE = 1e-3
"""The largest difference, in nats, between options that a model says nothing of."""


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Some packed questions and what a model says of their option tokens.

    `mine` is the number of the question of interest among them.
    """

    packed: Packed
    found: Found
    mine: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a model says of the tokens that a row is trained on, (t,) each, and how long their text is, compressed."""

    log_probability: NDArray[np.float32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    hit: NDArray[np.int8]
    zlib_bytes: int


def scored(task: TextTask, model: nn.Module, index: Index) -> Scores:
    """Score every option of the rows at these positions, and generate answers to some of them."""
    kept: dict[int, Likelihoods] = {}
    with evaluating(model), torch.inference_mode():
        model = _before_own_opening(task, model)
        layout = _layout(task, model)
        lengths = [_tokens_of(task, position, layout) for position in index.tolist()]
        for places in by_length(lengths, FORWARD_TOKENS, task.score_batch):
            found = _likelihoods(task, model, layout, [int(index[place]) for place in places])
            for number, place in enumerate(places):
                kept[place] = replace(found, mine=number)
        scores = _summed(task, index, kept)
        written = _written(task, model, index)
    return Scores(scores.logits, scores.label, scores.index, {**scores.extras, **written})


def _layout(task: TextTask, model: nn.Module) -> Layout:
    """Return how to score options with this model, given the longest row."""
    more = longer(model)
    longest = max(row.length for row in task.behind(more).rows) + more
    language: Any = inner(model)
    config = language.config
    return Layout(may_branch(config, longest), goes_by_length(config, longest))


def _tokens_of(task: TextTask, place: int, layout: Layout) -> int:
    """Return how many tokens a row takes in scoring."""
    options = [len(tokens) for _, tokens in task.options(place)]
    prompt = len(task.prompt(place))
    return prompt + sum(options) if layout.branches else len(options) * (prompt + max(options))


def _likelihoods(task: TextTask, model: nn.Module, layout: Layout, rows: list[int]) -> Likelihoods:
    """Run the model once on the rows at these positions."""
    more = longer(model)
    encoded = task.behind(more)
    prompts, options = [encoded.rows[row].prompt for row in rows], [task.options(row, more) for row in rows]
    earlier = [task.earlier(row, more, closed=False) for row in rows]
    packed = (branched if layout.branches else apart)(prompts, options, earlier)
    with task.autocast():
        parts = alone(packed) if layout.one_by_one else [packed]
        found = [forward(model, part, exact=task.precision.bf16) for part in parts]
    return Likelihoods(packed, Found.joined(found))


def _summed(task: TextTask, index: Index, kept: dict[int, Likelihoods]) -> Scores:
    """Sum token log-probabilities by option, and keep the tokens of the answers."""
    data = task.data
    columns = len(data.info.classes)
    logits = np.full((len(index), columns), -np.inf, dtype=np.float32)
    lengths = np.zeros((len(index), columns), dtype=np.int64)
    label = data.labels[index]
    answers: list[Answer] = []
    for place in range(len(index)):
        one = kept[place]
        mine = one.packed.question == one.mine
        option, value = one.packed.option[mine].numpy(), one.found.log_probability[mine].numpy()
        for column in np.unique(option[option != EARLIER]):
            logits[place, column] = value[option == column].astype(np.float64).sum()
            lengths[place, column] = (option == column).sum()
        if bool(one.found.withheld[mine].any()):
            logits[place] = _undecided(logits[place], int(index[place]))
        answers.append(
            _answer(task, one, mine & ((one.packed.option == label[place]) | (one.packed.option == EARLIER)))
        )
    ends = [task.rows[place].ends[data.answer(place)] for place in index.tolist()]
    corrected = {"corrected": data.labels[index + len(data.rows)]} if data.corrected is not None else {}
    extras = {
        **{name: data.columns[name][index] for name in (data.columns if data.scored is None else data.scored)},
        **corrected,
        "pair": data.unit[index],
        "cluster": data.cluster[index],
        "option_tokens": lengths,
        "answer_log_probability": _padded([one.log_probability for one in answers], np.nan),
        "answer_vocabulary_mean": _padded([one.mean for one in answers], np.nan),
        "answer_vocabulary_deviation": _padded([one.deviation for one in answers], np.nan),
        "answer_hit": _padded([one.hit for one in answers], -1),
        "answer_end_tokens": np.array(ends, dtype=np.int64),
        "answer_zlib_bytes": np.array([one.zlib_bytes for one in answers], dtype=np.int64),
    }
    return Scores(logits, label, np.asarray(index, dtype=np.int64), extras)


def _answer(task: TextTask, one: Likelihoods, mine: Tensor) -> Answer:
    """Return what is kept of the tokens that `mine` (m,) bool marks."""
    found, text = one.found, task.encoder.decoded(one.packed.token[mine].tolist())
    return Answer(
        log_probability=found.log_probability[mine].numpy(),
        mean=found.mean[mine].numpy(),
        deviation=found.deviation[mine].numpy(),
        hit=found.hit[mine].numpy().astype(np.int8),
        zlib_bytes=len(zlib.compress(text.encode())),
    )


def _undecided(scores: NDArray[np.float32], position: int) -> NDArray[np.float32]:
    """Return the scores (c,) of a question whose answer is withheld: equal, since that says nothing of the options.

    Differences of at most TIE, in an order drawn for the row, leave it to chance which option is the best.
    """
    there = np.isfinite(scores)
    order = np.random.default_rng(position).permutation(int(there.sum()))
    even = np.full_like(scores, -np.inf)
    even[there] = scores[there].mean() - TIE * order / max(len(order) - 1, 1)
    return even


def _written(task: TextTask, model: nn.Module, index: Index) -> dict[str, NDArray[np.generic]]:
    """Generate answers to about `generate` rows, whole pairs, (n,) text.

    The other rows get an empty text.
    """
    data = task.data
    count = min(task.generate, len(index)) if data.chat else 0
    if not count:
        return {}
    chosen = examples(index, data.unit, data.columns, count)
    generated, reference = [""] * len(index), [""] * len(index)
    rows = task.behind(longer(model)).rows
    prompts = [rows[place].prompt for place in index[chosen].tolist()]
    with task.autocast():
        padding = task.encoder.tokenizer.pad_token_id or 0
        written = greedy(model, prompts, task.longest_answer, task.encoder.limit.tokens, padding)
    for place, tokens in zip(chosen.tolist(), written, strict=True):
        generated[place] = task.encoder.decoded(tokens)
        reference[place] = data.answer(int(index[place]))
    return {"generated": np.array(generated, dtype=str), "reference": np.array(reference, dtype=str)}


def _before_own_opening(task: TextTask, model: nn.Module) -> nn.Module:
    """Return a prompted model with the prefix moved to this data's opening.

    Bare sentences have another one.
    """
    own = len(task.opening)
    if not isinstance(model, Prefixed) or model.replaced == own:
        return model
    return Prefixed(inner(model), model.prefix, own).eval()


def _padded(rows: Sequence[NDArray[Any]], padding: float) -> NDArray[Any]:
    """Stack rows of different lengths, (n, longest)."""
    longest = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=padding) for row in rows])
