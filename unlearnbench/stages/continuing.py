"""Continuing: what a model writes to a probe's prompts, greedily."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from unlearnbench.data.probes import Probe
from unlearnbench.errors import UserError
from unlearnbench.evidence import Scores
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.modes import evaluating
from unlearnbench.models.wrapper import longer
from unlearnbench.stages.of_model import OfModel
from unlearnbench.tasks.conversation import Tokens
from unlearnbench.tasks.encoding import Asked, Encoder
from unlearnbench.tasks.generation import greedy
from unlearnbench.tasks.kinds import text_task

log = logging.getLogger("unlearnbench")
TOGETHER = 32768
"""The most tokens that are continued together, those to be written and padding included."""


@dataclass(frozen=True, eq=False)
class Continue(OfModel):
    """What a model writes to the prompts of a probe, at most `tokens` tokens and up to the first of `stops`.

    A prompt that is too long for the model loses its beginning. With `shorten`, references are cut to as many tokens.
    """

    name: str
    probe: Probe
    tokens: int
    stops: tuple[str, ...] = ()
    shorten: bool = False
    kind: ClassVar[str] = "continue"

    def __post_init__(self) -> None:
        limit = text_task(self.bench.task).encoder.limit
        if limit.tokens < 2 * self.tokens:
            raise UserError(
                f"{self.name}: {self.tokens} tokens are to be written, and {limit.name} is the most for prompt and "
                f"answer together.\nTry: {limit.remedy(2 * self.tokens)}, or fewer tokens to write"
            )

    @property
    def label(self) -> str:
        """The role and the probe."""
        return f"{self.model.role} answering {self.name}"

    @property
    def settings(self) -> tuple[object, ...]:
        """Model, task, the probe and how much is written."""
        written = (self.tokens, self.stops, self.shorten)
        return (self.model.key, self.bench.setting, self.bench.task.limit, self.bench.batch, self.probe, written)

    def compute(self, workshop: Workshop) -> Artefact:
        """Write the answers."""
        task, model = text_task(self.bench.task), workshop.model(self.model)
        encoder = task.encoder
        room = encoder.limit.tokens - self.tokens - longer(model)
        whole = list(self._prompts(encoder))
        prompts = [tokens[-max(room, 1) :] for tokens in whole]
        cut = sum(len(tokens) > room for tokens in whole)
        if cut:
            log.warning("%s: %d of %d prompts are too long and lose their beginning", self.label, cut, len(whole))
        written: list[str] = [""] * len(prompts)
        with evaluating(model), torch.inference_mode(), task.autocast():
            for places in together([len(prompt) + self.tokens for prompt in prompts], self.bench.batch):
                chosen = [prompts[place] for place in places]
                padding = encoder.tokenizer.pad_token_id or 0
                found = greedy(model, chosen, self.tokens, encoder.limit.tokens, padding)
                for place, tokens in zip(places, found, strict=True):
                    written[place] = before(_text(encoder, tokens), self.stops)
        return Computed(self._scores(written, encoder).tensors(), {"split": self.name})

    def read(self, workshop: Workshop) -> Scores:
        """Return what was written and its references, once they are computed: `generated` and `reference`."""
        return Scores.from_tensors(workshop.artefact(self).tensors)

    def _prompts(self, encoder: Encoder) -> list[Tokens]:
        probe = self.probe
        if not probe.chat:
            return [encoder.beginning(prompt) for prompt in probe.prompts]
        chat = Encoder(encoder.tokenizer, True, encoder.limit)
        rows = chat.encode([Asked(prompt, ("answer",)) for prompt in probe.prompts]).rows
        openings = probe.openings or ("",) * len(rows)
        return [[*row.prompt, *chat.tokens(said)] for row, said in zip(rows, openings, strict=True)]

    def _scores(self, written: Sequence[str], encoder: Encoder) -> Scores:
        references = list(self.probe.references)
        if self.shorten:
            references = [_text(encoder, encoder.tokens(text)[: self.tokens]) for text in references]
        count = len(written)
        extras = {"generated": np.array(written, dtype=str), "reference": np.array(references, dtype=str)}
        return Scores(np.zeros((count, 1), np.float32), np.zeros(count, np.int64), np.arange(count), extras)


def together(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield places of similar lengths, at most `most` and TOGETHER tokens at once; one alone may be longer."""
    places: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda one: lengths[one]):
        if places and (len(places) == most or (len(places) + 1) * lengths[place] > TOGETHER):
            yield places
            places = []
        places.append(place)
    if places:
        yield places


def before(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first of the stops in it."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


def _text(encoder: Encoder, tokens: Tokens) -> str:
    """Return the text of tokens with its blanks, which stops may need."""
    return str(encoder.tokenizer.decode(tokens, skip_special_tokens=True))
