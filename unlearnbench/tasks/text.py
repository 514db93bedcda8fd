"""Text: language models trained on answers and scored over the answer options."""

from __future__ import annotations

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
from unlearnbench.evidence import Scores
from unlearnbench.machine.precision import Precision
from unlearnbench.models.hooks import output_of, with_input
from unlearnbench.models.loading import hush
from unlearnbench.models.modes import evaluating
from unlearnbench.models.prefix import Prefixed
from unlearnbench.models.start import adapter_of
from unlearnbench.models.wrapper import asked, embedded, inner
from unlearnbench.tasks import scoring, states
from unlearnbench.tasks.chat import Message
from unlearnbench.tasks.conversation import Tokens
from unlearnbench.tasks.encoding import Asked, Encoder
from unlearnbench.tasks.generation import sampled
from unlearnbench.tasks.options import heads_of, only_at
from unlearnbench.tasks.rows import TextRows

WINDOW = 32
"""Sort by length within this many batches, to reduce padding."""


class TextTask(TextRows):
    """Questions with answer options, bound to a loaded data set and a model's tokenizer.

    In each split, `generate` answers are also generated greedily, with at most `longest_answer` tokens. `score_batch`
    is the most rows per forward pass.
    """

    def __init__(
        self, data: TextData, encoder: Encoder, precision: Precision, spec: ModelSpec, score_batch: int, generate: int
    ) -> None:
        super().__init__(data, encoder)
        self.precision, self.spec = precision, spec
        self.score_batch, self.generate = score_batch, generate
        self.device = torch.device(precision.device)

    span = None

    def on(self, data: Data) -> TextTask:
        """Return a task for the same model on another data set, without generated answers."""
        assert isinstance(data, TextData)
        limit = replace(self.encoder.limit, too_long="cut")
        encoder = Encoder(self.encoder.tokenizer, data.chat, limit)
        return TextTask(data, encoder, self.precision, self.spec, self.score_batch, 0)

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

    def autocast(self) -> torch.autocast:
        """Return a block in which models run in the run's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision.bf16)

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
