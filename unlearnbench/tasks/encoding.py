"""From conversations to tokens: the model's own chat template, a whole conversation at a time, cut to the context.

What a model is trained on and scored with is `apply_chat_template(messages, tokenize=True)` of question and answer,
token by token, to the end of the answer's turn: what a template writes behind it cannot change a number, and is left
out. Parts that are tokenised apart are not the same: many tokenizers begin a text with a blank.
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
    """How long a sequence may be: as the data set's settings ask, and no longer than the model takes.

    `model` is the model's own limit, None where it states none; `model_key` is the setting that raises it, if any.
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
        """Where the limit stands."""
        if self.tokens == self.asked:
            return f"dataset.context={self.asked}"
        return f"{self.model_key}={self.model}" if self.model_key else f"the {self.model} tokens that the model takes"

    def remedy(self, tokens: int) -> str:
        """Return what to type so that sequences of so many tokens fit."""
        if self.model is not None and tokens > self.model and self.model_key is None:
            return f"a model that takes {tokens} tokens: this one takes {self.model}"
        settings = {"dataset.context": self.asked, self.model_key: self.model}
        return " ".join(f"{key}={tokens}" for key, value in settings.items() if value is not None and tokens > value)


@dataclass(frozen=True, eq=False)
class Row:
    """A question's tokens, its answers', and what of them is only the end of the turn.

    `prompt` (t,) is all that the conversations with the different answers share before the answer begins; `answers` by
    text reach from there to the end of the turn. `opening` is how many tokens of the prompt stand before the question.
    """

    prompt: Tokens
    answers: dict[str, Tokens]
    ends: dict[str, int]
    opening: int

    @property
    def length(self) -> int:
        """The tokens of the longest conversation."""
        return len(self.prompt) + max(len(tokens) for tokens in self.answers.values())


@dataclass(frozen=True, eq=False)
class Encoded:
    """All rows as tokens, and the numbers of those whose question is cut."""

    rows: tuple[Row, ...]
    cut: frozenset[int]


class Encoder:
    """Turns questions and answers into tokens, whole conversations at a time; bare sentences where there is no `chat`.

    `cut` counts the sequences that were longer than the limit, behind a prompt too.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: bool, limit: Limit) -> None:
        self.tokenizer, self.limit, self.cut = tokenizer, limit, 0
        self._chat = Chat(tokenizer) if chat else None
        self._start = None if chat else _start_of(tokenizer)

    def digest(self) -> str:
        """Return the SHA-256 of the tokenizer and of what stands around questions and answers."""
        chat = self._chat
        around = (chat.before, chat.between, chat.after) if chat is not None else self._start
        return digest(self.tokenizer.backend_tokenizer.to_str(), around)

    def encode(self, questions: Sequence[str], answers: Sequence[Sequence[str]], longer: int = 0) -> Encoded:
        """Return the rows' tokens; a question loses its middle where a conversation of its row would be too long.

        `answers` are each row's different texts, `longer` is what a prompt adds to each sequence. What is cut is the
        question's text, so that a shorter conversation too is tokenised as a whole. Raises UserError if too long
        ones are refused, or not even two tokens of a question would be left.
        """
        rows = self._rows(questions, answers)
        limit = self.limit.tokens - longer
        over = {number: row.length - limit for number, row in enumerate(rows) if row.length > limit}
        if over:
            whole = {number: self._question(questions[number], answers[number]) for number in over}
            least = max(min(2, len(whole[number])) - len(whole[number]) + excess for number, excess in over.items())
            self._check(len(over), max(over.values()), least, " behind the prompt" if longer else "")
            self.cut = max(self.cut, len(over))
            for number, excess in over.items():
                rows[number] = self._shortened(questions[number], answers[number], whole[number], excess, limit)
        return Encoded(tuple(rows), frozenset(over))

    def conversation(self, question: str, answer: str, before: Sequence[Message] = ()) -> Tokens:
        """Return the tokens of a whole conversation, also behind earlier messages: to the end of the answer's turn."""
        assert self._chat is not None
        text = self._chat.render([[*before, *turns(question, answer)]])[0]
        encoding = self._encodings([text])[0]
        return list(encoding.ids[: _behind(encoding, text, len(text) - len(self._chat.tail))])

    def tokens(self, text: str) -> Tokens:
        """Return a text's tokens, without any special ones of the tokenizer's own."""
        found: Tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def decoded(self, tokens: Tokens) -> str:
        """Return the text of generated tokens, without special ones."""
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return str(text).strip()

    def _rows(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[Row]:
        if self._chat is None:
            return [self._sentences(texts) for texts in answers]
        pairs = [(question, answer) for question, texts in zip(questions, answers, strict=True) for answer in texts]
        found = self._conversations(self._chat, pairs)
        return [self._row([(answer, next(found)) for answer in texts]) for texts in answers]

    def _row(self, conversations: Sequence[tuple[str, _Conversation]]) -> Row:
        """Join a question's conversations; they share the tokens before the answer, but for a tokenizer's whim."""
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
        """Yield each question's conversation with an answer, tokenised as a whole."""
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
        """Return where in its text each token of a question stands; none where there is no conversation."""
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
        """Return the row with as much of the question's middle cut as makes it fit."""
        room, said = len(spans) - excess, question.strip() if spans else question
        while True:
            first, last = max(room - room // 2, 1), max(room // 2, 1)
            kept = said[: spans[first - 1][1]] + said[spans[len(spans) - last][0] :]
            (row,) = self._rows([kept], [answers])
            if row.length <= limit:
                return row
            if room <= 2:
                self._check(1, excess, row.length - limit, "")
            room = max(room - row.length + limit, 2)  # tokens at the seam may split anew

    def _check(self, count: int, over: int, least: int, behind: str) -> None:
        """Raise UserError for sequences at most `over` tokens too long; cut, they would still be `least` too long."""
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
        assert found is not None  # only tokenizers with a backend of their own come here
        return found


@dataclass(frozen=True, eq=False)
class _Conversation:
    """A conversation's tokens, where question and answer begin in them, and how many are only the end of the turn."""

    tokens: Tokens
    question: int
    answer: int
    ends: int


def shared_beginning(sequences: Sequence[Tokens]) -> Tokens:
    """Return the tokens that all sequences begin with."""
    shortest = min(sequences, key=len)
    for place, token in enumerate(shortest):
        if any(tokens[place] != token for tokens in sequences):
            return shortest[:place]
    return list(shortest)


def _at(encoding: Encoding, text: str, place: int) -> int:
    """Return the first token that holds the character of the text at `place`, or the next one that a token holds."""
    for character in range(place, len(text)):
        token = encoding.char_to_token(character)
        if token is not None:
            return int(token)
    return len(encoding.ids)


def _behind(encoding: Encoding, text: str, place: int) -> int:
    """Return the first token that begins at the character of the text at `place`, or behind it."""
    token, count = _at(encoding, text, place), len(encoding.ids)
    while token < count and (encoding.token_to_chars(token) or (place, place))[0] < place:
        token += 1
    return token


def _start_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that bare sentences begin with; raise UserError if the tokenizer has none."""
    start = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    if start == (None, None):
        raise UserError(
            "a sentence outside a conversation starts with the tokenizer's bos or eos token, and it has neither"
            ".\nTry: eval.extra=[] or [bbq], whose rows are questions, or another model"
        )
    return int(next(token for token in start if token is not None))
