"""The tokens of whole conversations, and where their parts begin and end.

Tokenising the parts separately would differ: many tokenizers start a text with a blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from unlearnbench.tasks.chat import Chat, Message, Span

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

Tokens = list[int]
CHUNK = 1024
"""Conversations that are rendered and tokenised at once: a tokenizer's findings take 5 kB each."""


@dataclass(frozen=True)
class Answer:
    """An answer before the last one: tokens `start` to `stop`, of which the last `ends` only close its turn."""

    start: int
    stop: int
    ends: int


@dataclass(frozen=True, eq=False)
class Conversation:
    """A conversation's tokens, to the end of the last answer's turn.

    The first message begins at the token `first` and the last answer at `answer`; its last `ends` tokens only close
    the turn. `earlier` are the answers before it.
    """

    tokens: Tokens
    first: int
    answer: int
    ends: int
    earlier: tuple[Answer, ...]


def conversations(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, asked: Iterable[Sequence[Message]]
) -> Iterator[Conversation]:
    """Yield each conversation as tokens, tokenised as a whole."""
    left = iter(asked)
    while some := list(islice(left, CHUNK)):
        for messages in some:
            chat.frame(tuple(message["role"] for message in messages))  # roles that it rejects end here, by name
        texts = chat.render(some)
        for messages, text, encoding in zip(some, texts, encodings(tokenizer, texts), strict=True):
            yield _conversation(chat, messages, text, encoding)


def _conversation(chat: Chat, messages: Sequence[Message], text: str, encoding: Encoding) -> Conversation:
    frame, spans = chat.placed(text, messages)

    def answer(number: int, stop: int) -> Answer:
        start, end = spans[number]
        own = _behind(encoding, text, end)
        return Answer(_at(encoding, text, start), max(stop, own), max(stop - own, 0))

    earlier = [number for number, message in enumerate(messages[:-1]) if message["role"] == "assistant"]
    stops = [_at(encoding, text, spans[number][1] + len(frame.closing(number))) for number in earlier]
    last = answer(len(messages) - 1, _behind(encoding, text, len(text) - len(frame.tail)))
    return Conversation(
        tokens=list(encoding.ids[: last.stop]),
        first=_at(encoding, text, min(start for start, _ in spans)),
        answer=last.start,
        ends=last.ends,
        earlier=tuple(map(answer, earlier, stops)),
    )


def whole(tokenizer: PreTrainedTokenizerBase, chat: Chat, messages: Sequence[Message]) -> Tokens:
    """Return the tokens of any conversation to the end of the last answer's turn."""
    text = chat.render([messages])[0]
    tail = chat.frame(tuple(message["role"] for message in messages)).tail
    encoding = encodings(tokenizer, [text])[0]
    return list(encoding.ids[: _behind(encoding, text, len(text) - len(tail))])


def question_tokens(tokenizer: PreTrainedTokenizerBase, chat: Chat, messages: Sequence[Message]) -> list[Span]:
    """Return the character range of each token in the last question's text."""
    text = chat.render([messages])[0]
    start, stop = chat.placed(text, messages)[1][-2]
    inside = [
        (max(low, start), min(high, stop))
        for low, high in encodings(tokenizer, [text])[0].offsets
        if low < stop and high > start
    ]
    return [(low - start, high - start) for low, high in inside]


def encodings(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Sequence[Encoding]:
    """Tokenise texts with their special tokens as written."""
    if not texts:
        return []
    found: Sequence[Encoding] | None = tokenizer(list(texts), add_special_tokens=False).encodings
    assert found is not None  # all our tokenizers have a Rust backend
    return found


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
