"""Turn whole conversations into tokens with the model's chat template, cut to the context.

A model is trained and scored on exactly the tokens of `apply_chat_template(messages, tokenize=True)` for question and
answer, up to the end of the answer's turn; what a template writes after that cannot change a number and is left out.
Tokenising the parts separately would differ: many tokenizers start a text with a blank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError
from unlearnbench.graph.keys import digest
from unlearnbench.tasks.chat import Chat, Message, turns

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

Tokens = list[int]


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


@dataclass(frozen=True, eq=False)
class Row:
    """The tokens of a question and of its answers.

    `prompt` (t,) is what the conversations with the different answers share before the answer begins; `answers`, by
    text, continue from there to the end of the turn, whose closing tokens `ends` counts. `opening` is the number of
    prompt tokens before the question.
    """

    prompt: Tokens
    answers: dict[str, Tokens]
    ends: dict[str, int]
    opening: int

    @property
    def length(self) -> int:
        """The number of tokens in the longest conversation."""
        return len(self.prompt) + max(len(tokens) for tokens in self.answers.values())


@dataclass(frozen=True, eq=False)
class Encoded:
    """All rows as tokens, and the numbers of the rows whose question was cut."""

    rows: tuple[Row, ...]
    cut: frozenset[int]


class Encoder:
    """Turns questions and answers into tokens: whole conversations, or bare sentences without `chat`.

    `cut` counts the sequences that were over the limit, with or without a prompt.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: bool, limit: Limit) -> None:
        self.tokenizer, self.limit, self.cut = tokenizer, limit, 0
        self._chat = Chat(tokenizer) if chat else None
        self._start = None if chat else _start_of(tokenizer)

    def digest(self) -> str:
        """Return the SHA-256 of the tokenizer and of the text around questions and answers."""
        chat = self._chat
        around = (chat.before, chat.between, chat.after) if chat is not None else self._start
        return digest(self.tokenizer.backend_tokenizer.to_str(), around)

    def encode(self, questions: Sequence[str], answers: Sequence[Sequence[str]], longer: int = 0) -> Encoded:
        """Return the rows' tokens, cutting the middle of questions whose conversations are too long.

        `answers` are the different answers to each row; `longer` is the number of tokens that a prompt adds. We cut the
        question's text, so that the shorter conversation is still tokenised as a whole. Raises UserError if long
        sequences are refused, or if fewer than two tokens of a question would be left.
        """
        rows = self._rows(questions, answers)
        limit = self.limit.tokens - longer
        over = {number: row.length - limit for number, row in enumerate(rows) if row.length > limit}
        if over:
            whole = {number: self._question(questions[number], answers[number]) for number in over}
            least = max(min(2, len(whole[number])) - len(whole[number]) + excess for number, excess in over.items())
            self._check(len(over), max(over.values()), least, " with the prompt" if longer else "")
            self.cut = max(self.cut, len(over))
            for number, excess in over.items():
                rows[number] = self._shortened(questions[number], answers[number], whole[number], excess, limit)
        return Encoded(tuple(rows), frozenset(over))

    def conversation(self, question: str, answer: str, before: Sequence[Message] = ()) -> Tokens:
        """Return the tokens of a conversation to the end of the answer's turn."""
        assert self._chat is not None
        text = self._chat.render([[*before, *turns(question, answer)]])[0]
        encoding = self._encodings([text])[0]
        return list(encoding.ids[: _behind(encoding, text, len(text) - len(self._chat.tail))])

    def tokens(self, text: str) -> Tokens:
        """Return a text's tokens, without special tokens."""
        found: Tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def decoded(self, tokens: Tokens) -> str:
        """Return the text of generated tokens, without special tokens."""
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return str(text).strip()

    def _rows(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[Row]:
        if self._chat is None:
            return [self._sentences(texts) for texts in answers]
        pairs = [(question, answer) for question, texts in zip(questions, answers, strict=True) for answer in texts]
        found = self._conversations(self._chat, pairs)
        return [self._row([(answer, next(found)) for answer in texts]) for texts in answers]

    def _row(self, conversations: Sequence[tuple[str, _Conversation]]) -> Row:
        """Join a question's conversations, which share the tokens before the answer in most tokenizers."""
        before = [one.tokens[: one.answer] for _, one in conversations]
        shared = len(shared_beginning(before))
        return Row(
            prompt=before[0][:shared],
            answers={answer: one.tokens[shared:] for answer, one in conversations},
            ends={answer: one.ends for answer, one in conversations},
            opening=min(shared, *(one.question for _, one in conversations)),
        )

    def _sentences(self, texts: Sequence[str]) -> Row:
        tokens = {text: self.tokens(text) for text in texts}
        assert self._start is not None
        return Row(prompt=[self._start], answers=tokens, ends=dict.fromkeys(texts, 0), opening=1)

    def _conversations(self, chat: Chat, pairs: Sequence[tuple[str, str]]) -> Iterator[_Conversation]:
        """Yield the conversation of each question and answer, tokenised as a whole."""
        texts = chat.render([turns(*pair) for pair in pairs])
        for (question, answer), text, encoding in zip(pairs, texts, self._encodings(texts), strict=True):
            said, replied = chat.said(text, question, answer)
            start = len(chat.before) + len(said) + len(chat.between)
            stop = _behind(encoding, text, len(text) - len(chat.tail))
            yield _Conversation(
                tokens=list(encoding.ids[:stop]),
                question=_at(encoding, text, len(chat.before)),
                answer=_at(encoding, text, start),
                ends=stop - min(_behind(encoding, text, start + len(replied)), stop),
            )

    def _question(self, question: str, answers: Sequence[str]) -> list[tuple[int, int]]:
        """Return the character range of each token in the question's text; empty without a chat."""
        chat = self._chat
        if chat is None:
            return []
        text = chat.render([turns(question, answers[0])])[0]
        said, _ = chat.said(text, question, answers[0])
        start, stop = len(chat.before), len(chat.before) + len(said)
        spans = self._encodings([text])[0].offsets
        inside = [(max(low, start), min(high, stop)) for low, high in spans if low < stop and high > start]
        return [(low - start, high - start) for low, high in inside]

    def _shortened(
        self, question: str, answers: Sequence[str], spans: list[tuple[int, int]], excess: int, limit: int
    ) -> Row:
        """Return the row with just enough of the question's middle cut to fit."""
        room, said = len(spans) - excess, question.strip() if spans else question
        while True:
            first, last = max(room - room // 2, 1), max(room // 2, 1)
            kept = said[: spans[first - 1][1]] + said[spans[len(spans) - last][0] :]
            (row,) = self._rows([kept], [answers])
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

    def _encodings(self, texts: Sequence[str]) -> Sequence[Encoding]:
        if not texts:
            return []
        found: Sequence[Encoding] | None = self.tokenizer(list(texts), add_special_tokens=False).encodings
        assert found is not None  # all our tokenizers have a Rust backend
        return found


@dataclass(frozen=True, eq=False)
class _Conversation:
    """A conversation's tokens, where its parts begin, and how many only close the turn."""

    tokens: Tokens
    question: int
    answer: int
    ends: int


def shared_beginning(sequences: Sequence[Tokens]) -> Tokens:
    """Return the longest common prefix of the sequences."""
    shortest = min(sequences, key=len)
    for place, token in enumerate(shortest):
        if any(tokens[place] != token for tokens in sequences):
            return shortest[:place]
    return list(shortest)


def _at(encoding: Encoding, text: str, place: int) -> int:
    """Return the token that holds the character at `place`, or the next character that has a token."""
    for character in range(place, len(text)):
        token = encoding.char_to_token(character)
        if token is not None:
            return int(token)
    return len(encoding.ids)


def _behind(encoding: Encoding, text: str, place: int) -> int:
    """Return the first token that begins at or after the character at `place`."""
    token, count = _at(encoding, text, place), len(encoding.ids)
    while token < count and (encoding.token_to_chars(token) or (place, place))[0] < place:
        token += 1
    return token


def _start_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token to start bare sentences with; raise UserError if the tokenizer has none."""
    start = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    if start == (None, None):
        raise UserError(
            "sentences outside a conversation start with the tokenizer's bos or eos token, but it has neither.\n"
            "Try: eval.extra=[] or [bbq], whose rows are questions, or another model"
        )
    return int(next(token for token in start if token is not None))
