"""Turn whole conversations into tokens with the model's chat template, cut to the context.

A model is trained and scored on exactly the tokens of `apply_chat_template(messages, tokenize=True)`, up to the end of
the last answer's turn; what a template writes after that cannot change a number and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unlearnbench.data.text import Turn
from unlearnbench.errors import UserError
from unlearnbench.graph.keys import digest
from unlearnbench.tasks.chat import Chat, Message, Span, turns
from unlearnbench.tasks.conversation import (
    Answer,
    Conversation,
    Tokens,
    conversations,
    question_tokens,
    whole,
)  # fmt: skip

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The longest sequence allowed, by the data set's settings and by the model.

    `model` is the model's own limit, or None; `model_key` is the setting that raises it, if there is one.
    """

    asked: int
    too_long: str
    model: int | None = None
    model_key: str | None = None

    @property
    def tokens(self) -> int:
        """The number of tokens of the longest sequence."""
        return min(self.asked, self.model or self.asked)

    @property
    def name(self) -> str:
        """The setting, or the model's property, that the limit comes from."""
        if self.tokens == self.asked:
            return f"dataset.context={self.asked}"
        return f"{self.model_key}={self.model}" if self.model_key else f"the model's limit of {self.model} tokens"

    def remedy(self, tokens: int) -> str:
        """Return what to type so that sequences of that many tokens fit."""
        if self.model is not None and tokens > self.model and self.model_key is None:
            return f"a model that takes {tokens} tokens; this one takes {self.model}"
        settings = {"dataset.context": self.asked, self.model_key: self.model}
        return " ".join(f"{key}={tokens}" for key, value in settings.items() if value is not None and tokens > value)


@dataclass(frozen=True)
class Asked:
    """A question with its different answers, and the turns before it."""

    question: str
    answers: tuple[str, ...]
    history: tuple[Turn, ...] = ()

    def shorter(self) -> Asked | None:
        """Return it without its oldest question and what follows up to the next one; None if there is none."""
        start = next((n for n, (role, _) in enumerate(self.history) if role != "system"), len(self.history))
        if start == len(self.history):
            return None
        later = (n for n in range(start + 1, len(self.history)) if self.history[n][0] == "user")
        return replace(self, history=self.history[:start] + self.history[next(later, len(self.history)) :])


@dataclass(frozen=True, eq=False)
class Row:
    """The tokens of a question and of its answers.

    `prompt` (t,) is what the conversations with the different answers share before the answer begins; `answers`, by
    text, continue from there to the end of the turn, whose closing tokens `ends` counts. `opening` is the number of
    prompt tokens before the first message. `earlier` are the answers within the prompt.
    """

    prompt: Tokens
    answers: dict[str, Tokens]
    ends: dict[str, int]
    opening: int
    earlier: tuple[Answer, ...] = ()

    @property
    def length(self) -> int:
        """The number of tokens in the longest conversation."""
        return len(self.prompt) + max(len(tokens) for tokens in self.answers.values())


@dataclass(frozen=True, eq=False)
class Encoded:
    """All rows as tokens, and the numbers of the rows that were cut."""

    rows: tuple[Row, ...]
    cut: frozenset[int]


class Encoder:
    """Turns questions and answers into tokens: whole conversations, or bare texts without `chat`.

    `cut` counts the sequences that were over the limit, with or without a prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: bool, limit: Limit) -> None:
        self.tokenizer, self.limit, self.cut = tokenizer, limit, 0
        self._chat = Chat(tokenizer) if chat else None
        self._start = None if chat else _start_of(tokenizer)

    def digest(self) -> str:
        """Return the SHA-256 of the tokenizer and of the chat template."""
        chat = self._chat
        around = (chat.template, chat.frame(("user", "assistant")).around) if chat is not None else self._start
        return digest(self.tokenizer.backend_tokenizer.to_str(), around)

    def encode(self, asked: Sequence[Asked], longer: int = 0) -> Encoded:
        """Return the rows' tokens.

        Of conversations that are too long, the oldest turns are left out, and then the question's middle is cut.
        `longer` is the number of tokens that a prompt adds. We cut the text, so that the shorter conversation is still
        tokenised as a whole. Raises UserError if long sequences are refused, or if fewer than two tokens of a question
        would be left.
        """
        rows = self._rows(asked)
        limit = self.limit.tokens - longer
        over = {number: row.length - limit for number, row in enumerate(rows) if row.length > limit}
        if over:
            fitted = {number: self._fitted(asked[number], rows[number], limit) for number in over}
            spans = {number: self._question(one) for number, (one, row) in fitted.items() if row.length > limit}
            left = {number: min(2, len(spans[number])) - len(spans[number]) for number in spans}
            least = max((few + fitted[number][1].length - limit for number, few in left.items()), default=0)
            self._check(len(over), max(over.values()), least, " with the prompt" if longer else "")
            self.cut = max(self.cut, len(over))
            for number, (one, row) in fitted.items():
                rows[number] = (
                    self._shortened(one, spans[number], row.length - limit, limit) if number in spans else row
                )
        return Encoded(tuple(rows), frozenset(over))

    def conversation(self, asked: Asked, answer: str, before: Sequence[Message] = ()) -> Tokens:
        """Return the tokens of a conversation, behind other messages, to the end of the answer's turn."""
        assert self._chat is not None
        return whole(self.tokenizer, self._chat, [*before, *turns(asked.question, answer, asked.history)])

    def tokens(self, text: str) -> Tokens:
        """Return a text's tokens, without special tokens."""
        found: Tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def beginning(self, text: str) -> Tokens:
        """Return the tokens of a bare text behind the token that starts one."""
        return [_start_of(self.tokenizer), *self.tokens(text)]

    def decoded(self, tokens: Tokens) -> str:
        """Return the text of generated tokens, without special tokens."""
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return str(text).strip()

    def _rows(self, asked: Sequence[Asked]) -> list[Row]:
        if self._chat is None:
            return [self._texts(one.answers) for one in asked]
        said = (turns(one.question, answer, one.history) for one in asked for answer in one.answers)
        found = conversations(self.tokenizer, self._chat, said)
        return [self._row([(answer, next(found)) for answer in one.answers]) for one in asked]

    def _row(self, found: Sequence[tuple[str, Conversation]]) -> Row:
        """Join a question's conversations, which share the tokens before the answer in most tokenizers."""
        before = [one.tokens[: one.answer] for _, one in found]
        shared = len(shared_beginning(before))
        return Row(
            prompt=before[0][:shared],
            answers={answer: one.tokens[shared:] for answer, one in found},
            ends={answer: one.ends for answer, one in found},
            opening=min(shared, *(one.first for _, one in found)),
            earlier=found[0][1].earlier,
        )

    def _texts(self, texts: Sequence[str]) -> Row:
        tokens = {text: self.tokens(text) for text in texts}
        assert self._start is not None
        return Row(prompt=[self._start], answers=tokens, ends=dict.fromkeys(texts, 0), opening=1)

    def _fitted(self, asked: Asked, row: Row, limit: int) -> tuple[Asked, Row]:
        """Leave out the oldest turns, or the end of a bare text without others to compare it with, until a row fits.

        It may still be too long: then the question is.
        """
        if self._chat is None and len(row.answers) == 1:
            kept = {text: tokens[: max(limit - len(row.prompt), 1)] for text, tokens in row.answers.items()}
            return asked, replace(row, answers=kept)
        while row.length > limit and (less := asked.shorter()) is not None:
            asked = less
            (row,) = self._rows([asked])
        return asked, row

    def _question(self, asked: Asked) -> list[Span]:
        """Return the character range of each token in the question's text; empty without a chat."""
        if self._chat is None:
            return []
        return question_tokens(self.tokenizer, self._chat, turns(asked.question, asked.answers[0], asked.history))

    def _shortened(self, asked: Asked, spans: list[Span], excess: int, limit: int) -> Row:
        """Return the row with just enough of the question's middle cut to fit."""
        room, said = len(spans) - excess, asked.question.strip() if spans else asked.question
        while True:
            first, last = max(room - room // 2, 1), max(room // 2, 1)
            kept = said[: spans[first - 1][1]] + said[spans[len(spans) - last][0] :]
            (row,) = self._rows([replace(asked, question=kept)])
            if row.length <= limit:
                return row
            if room <= 2:
                self._check(1, excess, row.length - limit, "")
            room = max(room - row.length + limit, 2)  # tokens at the seam may split differently

    def _check(self, count: int, over: int, least: int, behind: str) -> None:
        """Raise UserError if long sequences are refused, or too long even when cut."""
        limit = self.limit
        longest = limit.tokens + over
        if least > 0:
            fits = limit.tokens + least if limit.too_long == "cut" else longest
            found = "no room is left for the question"
        elif limit.too_long == "refuse":
            fits, found = longest, "they are refused (dataset.too_long=refuse)"
        else:
            return
        cut = "dataset.too_long=cut, or " if least <= 0 else ""
        raise UserError(
            f"{count} sequences of up to {longest} tokens{behind} are over {limit.name}; {found}.\n"
            f"Try: {cut}{limit.remedy(fits)}"
        )


def shared_beginning(sequences: Sequence[Tokens]) -> Tokens:
    """Return the longest common prefix of the sequences."""
    shortest = min(sequences, key=len)
    for place, token in enumerate(shortest):
        if any(tokens[place] != token for tokens in sequences):
            return shortest[:place]
    return list(shortest)


def _start_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token to start bare sentences with; raise UserError if the tokenizer has none."""
    start = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    if start == (None, None):
        raise UserError(
            "sentences outside a conversation start with the tokenizer's bos or eos token, but it has neither.\n"
            "Try: eval.extra=[] or [bbq], whose rows are questions, or another model"
        )
    return int(next(token for token in start if token is not None))
