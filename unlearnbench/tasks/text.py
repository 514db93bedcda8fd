"""Text: language models trained on answers and scored over the answer options."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearnbench.contracts import IGNORED, Batch, Data, Index, ModelSpec, Predictions
from unlearnbench.data.text import TextData
from unlearnbench.errors import UserError
from unlearnbench.evidence import Scores
from unlearnbench.machine.precision import Precision
from unlearnbench.models.hooks import output_of, with_input
from unlearnbench.models.loading import hush
from unlearnbench.models.modes import evaluating
from unlearnbench.models.prefix import Prefixed
from unlearnbench.models.start import adapter_of
from unlearnbench.models.wrapper import asked, embedded, inner
from unlearnbench.tasks import scoring, states
from unlearnbench.tasks.chat import Message, turns
from unlearnbench.tasks.conversation import Tokens
from unlearnbench.tasks.encoding import Asked, Encoded, Encoder, shared_beginning
from unlearnbench.tasks.generation import sampled
from unlearnbench.tasks.options import heads_of, only_at

log = logging.getLogger("unlearnbench")

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
        self._given: dict[int, str] = {}
        self.rows = self.behind(0).rows
        self.opening = shared_beginning([row.prompt[: row.opening] for row in self.rows])

    span = None

    def settings(self) -> tuple[object, ...]:
        """Return what else can change a result: the tokenizer and the text around questions and answers."""
        return (self.encoder.digest(),)

    def shortened(self, index: Index, longer: int = 0) -> tuple[object, ...]:
        """Return which of these rows are cut, and to what length.

        A limit that cuts nothing changes no key.
        """
        encoded = self.behind(longer)
        places = (index % len(self.rows)).tolist()
        cut = ((place, encoded.rows[place]) for place in places if place in encoded.cut)
        return tuple((place, len(row.prompt), row.length) for place, row in cut)

    def behind(self, longer: int) -> Encoded:
        """Return the rows for a model whose prompt adds `longer` tokens, cut if necessary.

        Raises UserError if long sequences are refused.
        """
        if longer not in self._behind:
            before = self.encoder.cut
            self._behind[longer] = self.encoder.encode(list(map(self._asked, range(len(self.data.rows)))), longer)
            if self.encoder.cut > before:
                of = f"{self.encoder.cut} of {len(self.data.rows)} sequences{' with the prompt' if longer else ''}"
                log.warning("%s were over %s and cut", of, self.encoder.limit.name)
        return self._behind[longer]

    def before(self, longer: int) -> TextTask:
        """Return this task with its rows cut so that a prompt of `longer` tokens fits before them."""
        other = copy.copy(self)
        other.rows = self.behind(longer).rows
        return other

    def on(self, data: Data) -> TextTask:
        """Return a task for the same model on another data set, without generated answers."""
        assert isinstance(data, TextData)
        limit = replace(self.encoder.limit, too_long="cut")
        encoder = Encoder(self.encoder.tokenizer, data.chat, limit)
        return TextTask(data, encoder, self.precision, self.spec, self.score_batch, 0)

    @property
    def limit(self) -> int:
        """The length in tokens at which sequences are cut."""
        return self.encoder.limit.tokens

    @property
    def cut(self) -> int:
        """How many sequences were longer and have been cut."""
        return self.encoder.cut

    @property
    def longest_answer(self) -> int:
        """The length in tokens of the longest answer, including the end of its turn.

        Generated answers stop there.
        """
        return max(len(self.answer(place)) for place in range(2 * len(self.rows)))

    fixed = True

    @property
    def head(self) -> str:
        """The name of the model's output layer."""
        return self.spec.parts().head

    def batch(self, index: Index, generator: torch.Generator | None, epoch: int = 0, seed: int = 0) -> Batch:
        """Return the conversations at these positions, (n, t) right-padded; labels on answers."""
        rows = [(self.prompt(place), self.answer(place), self.earlier(place)) for place in index.tolist()]
        return self._padded(index, rows)

    def answered(self, index: Index, answers: Sequence[str]) -> Batch:
        """Return the questions at these positions, each with the given answer instead of its own, as `batch`."""
        count, every = len(self.data.rows), self.data.every_answer
        asked = [
            replace(self._asked(place % count), answers=(answer,))
            for place, answer in zip(index.tolist(), answers, strict=True)
        ]
        rows = []
        for row, answer in zip(self.encoder.encode(asked).rows, answers, strict=True):
            earlier = [token for one in row.earlier if every for token in range(one.start, one.stop)]
            rows.append((row.prompt, row.answers[answer], earlier))
        return self._padded(index, rows)

    def rewritten(self, model: nn.Module, index: Index, instruction: str, temperature: float) -> list[str]:
        """Let a model write other answers to the questions at these positions, drawn by torch's global generator.

        The model is shown the instruction with {question} and {answer} filled in. An answer that is empty, or the
        question's own, comes back as "".
        """
        own = [self.data.answer(place) for place in index.tolist()]
        asked = []
        for place, answer in zip(index.tolist(), own, strict=True):
            row = self.data.rows[place % len(self.data.rows)]
            said = instruction.replace("{question}", row.prompt).replace("{answer}", answer)
            asked.append(Asked(said, (answer,), row.history))
        prompts = [row.prompt for row in self.encoder.encode(asked).rows]
        padding = self.encoder.tokenizer.pad_token_id or 0
        with evaluating(model), torch.inference_mode(), self.autocast():
            found = sampled(model, prompts, self.longest_answer, self.limit, padding, temperature)
        texts = map(self.encoder.decoded, found)
        return [text if text != answer.strip() else "" for text, answer in zip(texts, own, strict=True)]

    def _padded(self, index: Index, rows: Sequence[tuple[Tokens, Tokens, list[int]]]) -> Batch:
        """Return prompts with their answers, and the places of earlier answers in the prompts, as a batch."""
        longest = max(len(prompt) + len(answer) for prompt, answer, _ in rows)
        inputs = torch.zeros(len(rows), longest, dtype=torch.int64)
        labels = torch.full_like(inputs, IGNORED)
        for number, (prompt, answer, earlier) in enumerate(rows):
            end = len(prompt) + len(answer)
            inputs[number, :end] = torch.tensor([*prompt, *answer])
            labels[number, len(prompt) : end] = torch.tensor(answer)
            labels[number, earlier] = inputs[number, earlier]
        per_example = sum(len(answer) + len(earlier) for _, answer, earlier in rows) / len(rows)
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

    def predict(self, model: nn.Module, batch: Batch, inputs: Tensor | None = None) -> Predictions:
        """Run the model in the run's precision; one row of logits (vocabulary,) float32 per answer token.

        `inputs` (n, t, d) replace the embeddings of the batch's tokens.
        """
        row, place, example = _answered(batch)
        given = {"input_ids": batch.inputs} if inputs is None else {"inputs_embeds": inputs}
        named = asked(model, lambda: _prompt_tokens(batch.labels))
        with only_at(model, row, place, batch.inputs.shape[1], exact=False), self.autocast():
            logits = model(**given, use_cache=False, **named).logits
        labels = batch.labels[row, place + 1].clamp_min(0)  # a filler's may be IGNORED
        return Predictions(logits.float(), labels, example, len(batch), batch.rows_per_example)

    def features(self, model: nn.Module, batch: Batch) -> tuple[Predictions, Tensor]:
        """Run the model; also return what its output layer gets for each answer token, (m, d) float32."""
        predictions, seen = with_input(heads_of(model)[0], lambda: self.predict(model, batch))
        row, place, _ = _answered(batch)
        return predictions, seen[:, seen.shape[1] - batch.inputs.shape[1] :][row, place]

    def inputs(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the token embeddings, (n, t, d)."""
        return embedded(model, batch.inputs)

    def hidden(self, model: nn.Module, batch: Batch, layer: str) -> Tensor:
        """Return the named submodule's output for the batch, (n, t, d) float32."""
        return output_of(model, layer, lambda: self.predict(model, batch))

    def represent(self, model: nn.Module, batch: Batch, layer: str) -> Predictions:
        """Return the named submodule's output at the tokens that predict the answers, (m, d) float32."""
        hidden = self.hidden(model, batch, layer)
        row, place, example = _answered(batch)
        labels = batch.labels[row, place + 1].clamp_min(0)
        return Predictions(hidden[row, place], labels, example, len(batch), batch.rows_per_example)

    def states(self, model: nn.Module, index: Index, layers: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return what each of the named submodules makes of the questions at these positions, (n, d) each.

        Of the last token before the answer.
        """
        return states.of_texts(self, model, index, layers)

    def score(self, model: nn.Module, index: Index) -> Scores:
        """Score every option of the rows at these positions, and generate answers to some of them."""
        return scoring.scored(self, model, index)

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
        language: Any = inner(model)
        language.save_pretrained(folder)
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
            asked, answer = self._asked(place), self.data.answer(place)
            rest = self.encoder.conversation(asked, answer)[len(self.opening) :]
            whole = self.encoder.conversation(asked, answer, messages)
            opened = opened or whole[: len(whole) - len(rest)]
            if whole != [*opened, *rest]:
                raise UserError(
                    "the tokenizer merges a prompt with the question after it, or the chat template writes other text "
                    "around some conversations behind a prompt, so the two cannot be kept apart.\n"
                    "Try: a method other than prompt and icul, or another model"
                )
        self.behind(len(opened) - len(self.opening))
        return opened

    def answers(self, index: Index) -> Index:
        """Return the columns of the answers that these rows, or twins, are trained on, (n,)."""
        return self.data.labels[index]

    def choices(self, index: Index) -> NDArray[np.bool_]:
        """Return the columns in which these rows, or twins, have an option, (n, c)."""
        return self.data.choices(index)

    def answering(self, index: Index, answers: Index) -> TextTask:
        """Return this task with the options in other columns, (n,), as answers of the rows at these positions."""
        task = copy.copy(self)
        columns = zip(index.tolist(), answers.tolist(), strict=True)
        options = {place: self.data.rows[place % len(self.rows)].options[column] for place, column in columns}
        task._given = {**self._given, **{place: text for place, text in options.items() if text is not None}}
        return task

    def prompt(self, place: int) -> Tokens:
        """Return the tokens of a row, or a twin, before its answer."""
        return self.rows[place % len(self.rows)].prompt

    def prompts(self, forget: Index, retain: Index, validation: Index) -> dict[str, list[Tokens]]:
        """Return the prompts of the rows at these positions, by kind: what a classifier of prompts learns from."""
        kinds = {"forget": forget, "retain": retain, "validation": validation}
        return {kind: [self.prompt(place) for place in index.tolist()] for kind, index in kinds.items()}

    def answer(self, place: int) -> Tokens:
        """Return the tokens that a row, or a twin, is trained on: its answer and the end of its turn."""
        return self.rows[place % len(self.rows)].answers[self._given.get(place) or self.data.answer(place)]

    def earlier(self, place: int, longer: int = 0, *, closed: bool = True) -> list[int]:
        """Return the places of the prompt tokens that a row is trained on: answers before the last one.

        Without `closed`, leave out the tokens that only close their turns.
        """
        spans = self.behind(longer).rows[place % len(self.rows)].earlier if self.data.every_answer else ()
        return [token for one in spans for token in range(one.start, one.stop - (0 if closed else one.ends))]

    def options(self, place: int, longer: int = 0) -> list[tuple[int, Tokens]]:
        """Return the columns and tokens of a row's options."""
        answers = self.behind(longer).rows[place].answers
        texts = enumerate(self.data.rows[place].options)
        return [(column, answers[text]) for column, text in texts if text is not None]

    def turns(self, position: int) -> list[Message]:
        """Return a row, or a twin, as a question and its answer: an example for a prompt."""
        asked = self._asked(position % len(self.data.rows))
        return turns(asked.question, self.data.answer(position), asked.history)

    def autocast(self) -> torch.autocast:
        """Return a block in which models run in the run's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.bf16)

    def _asked(self, place: int) -> Asked:
        """Return a row's question with all its answers: those that it and its twin are trained on, and its options."""
        row, count = self.data.rows[place], len(self.data.rows)
        texts = [self.data.answer(place), self.data.answer(place + count), *filter(None, row.options)]
        return Asked(row.prompt, tuple(dict.fromkeys(texts)), row.history)

    def _beginnings(self) -> list[int]:
        """Return one row per beginning of a conversation, which a tokenizer may merge with a prompt."""
        first = [row.history[0] if row.history else ("user", row.prompt) for row in self.data.rows]
        return list({(role, said[:3]): place for place, (role, said) in enumerate(first)}.values())

    def _length(self, place: int) -> int:
        return len(self.prompt(place)) + len(self.answer(place))


def _answered(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each answer token, (m,) int64 each: its row, the place before it, and the example that it counts for.

    Where the batch brings their places, the fillers among them count for no example.
    """
    if batch.places is None:
        row, place = (batch.labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
        return row, place, row
    count, most = batch.places.shape
    row = torch.arange(count, device=batch.labels.device).repeat_interleave(most)
    place = batch.places.reshape(-1)
    return row, (place - 1).clamp_min(0), torch.where(place < 0, count, row)


def _prompt_tokens(labels: Tensor) -> Tensor:
    """Return how many tokens of each sequence come before its last answer, from its labels (n, t), (n,) int64."""
    places = torch.arange(labels.shape[1], device=labels.device)
    answer = labels != IGNORED
    last = torch.where(answer, places, -1).amax(dim=1, keepdim=True)
    return torch.where(~answer & (places < last), places + 1, 0).amax(dim=1)
