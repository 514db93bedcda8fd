"""Text: language models trained on answers and scored over the answer options."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index, ModelSpec, Predictions
from unlearnbench.data.text import TextData
from unlearnbench.errors import UserError
from unlearnbench.evidence import Scores
from unlearnbench.machine.precision import Precision
from unlearnbench.models.hooks import output_of
from unlearnbench.models.loading import hush
from unlearnbench.models.modes import evaluating
from unlearnbench.models.prefix import Prefixed, inner, longer
from unlearnbench.models.start import adapter_of
from unlearnbench.tasks.chat import Message, turns
from unlearnbench.tasks.encoding import Encoded, Encoder, Tokens, shared_beginning
from unlearnbench.tasks.examples import examples
from unlearnbench.tasks.generation import greedy
from unlearnbench.tasks.options import (
    Layout,
    Packed,
    alone,
    apart,
    branched,
    by_length,
    forward,
    goes_by_length,
    head_of,
    may_branch,
    only_at,
)  # fmt: skip

log = logging.getLogger("unlearnbench")

IGNORED = -100
FORWARD_TOKENS = 4096
"""Tokens per forward pass in scoring, padding included."""
WINDOW = 32
"""Sort by length within this many batches, to reduce padding."""


class TextTask:
    """Questions with answer options, bound to a loaded data set and a model's tokenizer.

    In each split, `generate` answers are also generated greedily, with at most `longest_answer` tokens. `score_batch`
    is the most rows per forward pass.
    """

    def __init__(
        self, data: TextData, encoder: Encoder, precision: Precision, spec: ModelSpec, score_batch: int, generate: int
    ) -> None:
        self.data, self.encoder, self.precision, self.spec = data, encoder, precision, spec
        self.score_batch, self.generate = score_batch, generate
        self.device = torch.device(precision.device)
        self._behind: dict[int, Encoded] = {}
        self.rows = self.behind(0).rows
        self.opening = shared_beginning([row.prompt[: row.opening] for row in self.rows])

    def settings(self) -> tuple[object, ...]:
        """Return what else can change a result: the tokenizer and the text around questions and answers."""
        return (self.encoder.digest(),)

    def shortened(self, index: Index, longer: int = 0) -> tuple[object, ...]:
        """Return which of these rows are cut, and to what length.

        A limit that cuts nothing changes no key.
        """
        encoded = self.behind(longer)
        places = (index % len(self.rows)).tolist()
        return tuple((place, len(encoded.rows[place].prompt)) for place in places if place in encoded.cut)

    def behind(self, longer: int) -> Encoded:
        """Return the rows for a model whose prompt adds `longer` tokens, cut if necessary.

        Raises UserError if long sequences are refused.
        """
        if longer not in self._behind:
            before = self.encoder.cut
            questions = [row.prompt for row in self.data.rows]
            self._behind[longer] = self.encoder.encode(questions, self._texts(), longer)
            if self.encoder.cut > before:
                of = f"{self.encoder.cut} of {len(self.data.rows)} sequences{' with the prompt' if longer else ''}"
                log.warning("%s were over %s and cut", of, self.encoder.limit.name)
        return self._behind[longer]

    def on(self, data: TextData) -> TextTask:
        """Return a task for the same model on another data set, without generated answers."""
        limit = replace(self.encoder.limit, too_long="cut")
        encoder = Encoder(self.encoder.tokenizer, data.chat, limit)
        return TextTask(data, encoder, self.precision, self.spec, self.score_batch, 0)

    @property
    def longest_answer(self) -> int:
        """The length in tokens of the longest answer, including the end of its turn.

        Generated answers stop there.
        """
        return max(len(self.answer(place)) for place in range(2 * len(self.rows)))

    @property
    def head(self) -> str:
        """The name of the model's output layer."""
        return self.spec.parts().head

    def batch(self, index: Index, generator: torch.Generator | None, epoch: int = 0, seed: int = 0) -> Batch:
        """Return the conversations at these positions, (n, t) right-padded; labels on answers."""
        rows = [(self.prompt(place), self.answer(place)) for place in index.tolist()]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        inputs = torch.zeros(len(rows), longest, dtype=torch.int64)
        labels = torch.full_like(inputs, IGNORED)
        for number, (prompt, answer) in enumerate(rows):
            end = len(prompt) + len(answer)
            inputs[number, :end] = torch.tensor([*prompt, *answer])
            labels[number, len(prompt) : end] = torch.tensor(answer)
        per_example = sum(len(answer) for _, answer in rows) / len(rows)
        where = torch.from_numpy(index).to(self.device)
        return Batch(inputs.to(self.device), labels.to(self.device), where, per_example)

    def fetch(self, index: Index) -> None:
        """Do nothing: texts are in memory."""

    def arranged(self, index: Index, sizes: Sequence[int], generator: torch.Generator) -> list[Index]:
        """Split shuffled positions into batches of similar lengths, and shuffle the batches.

        Positions are sorted by length within windows of batches. Then the batches of all windows are shuffled, so that
        the length does not depend on a step's place in the epoch, even if the epoch stops early.
        """
        batches: list[Index] = []
        ends = np.cumsum([0, *sizes])
        for start in range(0, len(sizes), WINDOW):
            inside = slice(start, start + WINDOW)
            window = index[ends[start] : ends[min(start + WINDOW, len(sizes))]]
            sorted_ = window[np.argsort([self._length(place) for place in window.tolist()], kind="stable")]
            batches += np.split(sorted_, np.cumsum(sizes[inside])[:-1])
        return [batches[number] for number in torch.randperm(len(batches), generator=generator).tolist()]

    def predict(self, model: nn.Module, batch: Batch) -> Predictions:
        """Run the model in the run's precision; one row of logits (vocabulary,) float32 per answer token."""
        row, place = (batch.labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        head = head_of(model)
        with only_at(head, row, place, batch.inputs.shape[1], exact=False), self._autocast():
            logits = model(input_ids=batch.inputs, use_cache=False).logits
        labels = batch.labels[row, place + 1]
        return Predictions(logits.float(), labels, row, len(batch), batch.rows_per_example)

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the token embeddings, (n, t, d)."""
        embedded: Tensor = cast(Any, model).get_input_embeddings()(batch.inputs)
        return embedded

    def hidden(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return the named submodule's output for the batch, (n, t, d) float32."""
        return output_of(model, layer, lambda: self.predict(model, batch))

    def score(self, model: nn.Module, index: Index) -> Scores:
        """Score every option of the rows at these positions, and generate answers to some of them."""
        kept: dict[int, tuple[Tensor, Tensor, Packed, int]] = {}
        with evaluating(model), torch.inference_mode():
            model = self._before_own_opening(model)
            layout = self._layout(model)
            lengths = [self._tokens_of(position, layout) for position in index.tolist()]
            for places in by_length(lengths, FORWARD_TOKENS, self.score_batch):
                packed, log_probability, hit = self._score_batch(model, layout, [int(index[place]) for place in places])
                for number, place in enumerate(places):
                    kept[place] = (log_probability, hit, packed, number)
            scores = self._scores(index, kept)
            written = self._written(model, index)
        return Scores(scores.logits, scores.label, scores.index, {**scores.extras, **written})

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move the model to the device.

        A bfloat16 run keeps the frozen weights under an adapter in bfloat16. 4-bit weights, and the changes beside
        them, keep their stored formats.
        """
        if getattr(model, "is_quantized", False):
            return model.to(self.device)
        half = self.precision.bf16 and adapter_of(self.spec) is not None
        for parameter in model.parameters():  # not buffers: the angles of rotary positions need float32
            parameter.data = parameter.data.to(torch.bfloat16 if half else torch.float32)
        return model.to(self.device)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write model and tokenizer with `save_pretrained`."""
        hush()
        cast(Any, inner(model)).save_pretrained(folder)
        self.encoder.tokenizer.save_pretrained(folder)

    def prefixed(self, model: nn.Module, messages: Sequence[Message]) -> nn.Module:
        """Return the model with these messages before every question, in the same conversation."""
        return Prefixed(model, torch.tensor(self.opened(messages), device=self.device), len(self.opening))

    def opened(self, messages: Sequence[Message]) -> Tokens:
        """Return the tokens that replace the opening if these messages come before a question.

        Raises UserError if sequences get too long, or if the tokenizer merges the messages with the question, so that
        the conversation has other tokens than its parts.
        """
        opened: Tokens = []
        for place in self._beginnings():
            question, answer = self.data.rows[place].prompt, self.data.answer(place)
            rest = self.encoder.conversation(question, answer)[len(self.opening) :]
            whole = self.encoder.conversation(question, answer, messages)
            opened = opened or whole[: len(whole) - len(rest)]
            if whole != [*opened, *rest]:
                raise UserError(
                    "the tokenizer merges a prompt with the question after it, so the two cannot be kept apart.\n"
                    "Try: a method other than prompt and icul, or another model"
                )
        self.behind(len(opened) - len(self.opening))
        return opened

    def prompt(self, place: int) -> Tokens:
        """Return the tokens of a row, or a twin, before its answer."""
        return self.rows[place % len(self.rows)].prompt

    def answer(self, place: int) -> Tokens:
        """Return the tokens that a row, or a twin, is trained on: its answer and the end of its turn."""
        return self.rows[place % len(self.rows)].answers[self.data.answer(place)]

    def options(self, place: int, longer: int = 0) -> list[tuple[int, Tokens]]:
        """Return the columns and tokens of a row's options."""
        answers = self.behind(longer).rows[place].answers
        texts = enumerate(self.data.rows[place].options)
        return [(column, answers[text]) for column, text in texts if text is not None]

    def turns(self, position: int) -> list[Message]:
        """Return a row, or a twin, as a question and its answer: an example for a prompt."""
        return turns(self.data.rows[position % len(self.data.rows)].prompt, self.data.answer(position))

    def _texts(self) -> list[list[str]]:
        """Return all answers of each row: those that it and its twin are trained on, and its options."""
        count = len(self.data.rows)
        return [
            list(dict.fromkeys([self.data.answer(place), self.data.answer(place + count), *filter(None, row.options)]))
            for place, row in enumerate(self.data.rows)
        ]

    def _beginnings(self) -> list[int]:
        """Return one row per beginning of a question, which a tokenizer may merge with a prompt."""
        return list({row.prompt[:3]: place for place, row in enumerate(self.data.rows)}.values())

    def _ends(self, place: int) -> int:
        """Return how many tokens of a row's answer only close the turn."""
        return self.rows[place].ends[self.data.answer(place)]

    def _length(self, place: int) -> int:
        return len(self.prompt(place)) + len(self.answer(place))

    def _layout(self, model: nn.Module) -> Layout:
        """Return how to score options with this model, given the longest row."""
        more = longer(model)
        longest = max(row.length for row in self.behind(more).rows) + more
        config = cast(Any, inner(model)).config
        return Layout(may_branch(config, longest), goes_by_length(config, longest))

    def _tokens_of(self, place: int, layout: Layout) -> int:
        """Return how many tokens a row takes in scoring."""
        options = [len(tokens) for _, tokens in self.options(place)]
        prompt = len(self.prompt(place))
        return prompt + sum(options) if layout.branches else len(options) * (prompt + max(options))

    def _score_batch(self, model: nn.Module, layout: Layout, rows: list[int]) -> tuple[Packed, Tensor, Tensor]:
        """Return the log-probability (m,) of every option token, and whether it is the most likely one."""
        more = longer(model)
        encoded = self.behind(more)
        prompts, options = [encoded.rows[row].prompt for row in rows], [self.options(row, more) for row in rows]
        packed = branched(prompts, options) if layout.branches else apart(prompts, options)
        with self._autocast():
            parts = alone(packed) if layout.one_by_one else [packed]
            found = [forward(model, part, exact=self.precision.bf16) for part in parts]
        log_probability, hit = (torch.cat(each).cpu() for each in zip(*found, strict=True))
        return packed, log_probability, hit

    def _scores(self, index: Index, kept: dict[int, tuple[Tensor, Tensor, Packed, int]]) -> Scores:
        """Sum token log-probabilities by option, and keep the tokens of the answers."""
        columns = len(self.data.info.classes)
        logits = np.full((len(index), columns), -np.inf, dtype=np.float32)
        lengths = np.zeros((len(index), columns), dtype=np.int64)
        label = self.data.labels[index]
        answers: list[tuple[NDArray[np.float32], NDArray[np.int8]]] = []
        for place in range(len(index)):
            log_probability, hit, packed, number = kept[place]
            mine = packed.question == number
            option, value = packed.option[mine].numpy(), log_probability[mine].numpy()
            for column in np.unique(option):
                logits[place, column] = value[option == column].astype(np.float64).sum()
                lengths[place, column] = (option == column).sum()
            trained_on = option == label[place]
            answers.append((value[trained_on], hit[mine].numpy()[trained_on].astype(np.int8)))
        extras = {
            **{name: values[index] for name, values in self.data.columns.items()},
            "corrected": self.data.labels[index + len(self.data.rows)],
            "pair": self.data.unit[index],
            "cluster": self.data.cluster[index],
            "option_tokens": lengths,
            "answer_log_probability": _padded([value for value, _ in answers], np.nan),
            "answer_hit": _padded([hit for _, hit in answers], -1),
            "answer_end_tokens": np.array([self._ends(place) for place in index.tolist()], dtype=np.int64),
        }
        return Scores(logits, label, np.asarray(index, dtype=np.int64), extras)

    def _written(self, model: nn.Module, index: Index) -> dict[str, NDArray[np.generic]]:
        """Generate answers to about `generate` rows, whole pairs, (n,) text.

        The other rows get an empty text.
        """
        count = min(self.generate, len(index)) if self.data.chat else 0
        if not count:
            return {}
        chosen = examples(index, self.data.unit, self.data.columns, count)
        generated, reference = [""] * len(index), [""] * len(index)
        rows = self.behind(longer(model)).rows
        prompts = [rows[place].prompt for place in index[chosen].tolist()]
        with self._autocast():
            padding = self.encoder.tokenizer.pad_token_id or 0
            written = greedy(model, prompts, self.longest_answer, self.encoder.limit.tokens, padding)
        for place, tokens in zip(chosen.tolist(), written, strict=True):
            generated[place] = self.encoder.decoded(tokens)
            reference[place] = self.data.answer(int(index[place]))
        return {"generated": np.array(generated, dtype=str), "reference": np.array(reference, dtype=str)}

    def _before_own_opening(self, model: nn.Module) -> nn.Module:
        """Return a prompted model with the prefix moved to this data's opening.

        Bare sentences have another one.
        """
        own = len(self.opening)
        if not isinstance(model, Prefixed) or model.replaced == own:
            return model
        return Prefixed(inner(model), model.prefix, own).eval()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.bf16)


def _padded(rows: Sequence[NDArray[Any]], padding: float) -> NDArray[Any]:
    """Stack rows of different lengths, (n, longest)."""
    longest = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=padding) for row in rows])
