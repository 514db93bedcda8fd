"""The rows of a text data set as a tokenizer sees them: prompts, answers, options, and what is cut."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Index
from unlearnbench.data.text import TextData
from unlearnbench.errors import UserError
from unlearnbench.tasks.chat import Message, turns
from unlearnbench.tasks.conversation import Tokens
from unlearnbench.tasks.encoding import Asked, Encoded, Encoder, shared_beginning

log = logging.getLogger("unlearnbench")


class TextRows:
    """A loaded data set in a model's tokens; a row's twin is at its position plus the number of rows."""

    def __init__(self, data: TextData, encoder: Encoder) -> None:
        self.data, self.encoder = data, encoder
        self._behind: dict[int, Encoded] = {}
        self._given: dict[int, str] = {}
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

    def before(self, longer: int) -> Self:
        """Return this task with its rows cut so that a prompt of `longer` tokens fits before them."""
        other = copy.copy(self)
        other.rows = self.behind(longer).rows
        return other

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

    def answers(self, index: Index) -> Index:
        """Return the columns of the answers that these rows, or twins, are trained on, (n,)."""
        return self.data.labels[index]

    def choices(self, index: Index) -> NDArray[np.bool_]:
        """Return the columns in which these rows, or twins, have an option, (n, c)."""
        return self.data.choices(index)

    def answering(self, index: Index, answers: Index) -> Self:
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

    def _asked(self, place: int) -> Asked:
        """Return a row's question with all its answers: those that it and its twin are trained on, and its options."""
        row, count = self.data.rows[place], len(self.data.rows)
        texts = [self.data.answer(place), self.data.answer(place + count), *filter(None, row.options)]
        return Asked(row.prompt, tuple(dict.fromkeys(texts)), row.history)

    def _beginnings(self) -> list[int]:
        """Return one row per beginning of a conversation, which a tokenizer may merge with a prompt."""
        first = [row.history[0] if row.history else ("user", row.prompt) for row in self.data.rows]
        return list({(role, said[:3]): place for place, (role, said) in enumerate(first)}.values())
