"""From conversations to tokens: the model's own chat template, once per text, cut where the context ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError
from unlearnbench.keys import digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("unlearnbench")

Tokens = list[int]
Message = dict[str, str]

MARK = "\u241e"
"""Stands for a turn's text while a template is rendered; no template or text has it."""
TODAY = "26 Jul 2024"
"""What templates that print a date are given (Llama 3.2's own stand-in): a run must not depend on the day."""
DEFAULT_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + message['role'] + '\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
"""For tokenizers without a chat template: turns headed `### role`, answers ended by the end-of-sequence token."""


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


class Encoder:
    """Turns questions and answers into tokens: opening, question, closing of the question, answer.

    The parts are tokenised apart, so that the opening (what stands before the user's question) can be exchanged, and
    the question cut in its middle. `cut` counts the sequences that were longer than the limit, behind a prompt too.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: bool, limit: Limit) -> None:
        self.tokenizer, self.limit, self.cut = tokenizer, limit, 0
        if chat and not tokenizer.chat_template:
            log.warning("the tokenizer has no chat template; turns are headed '### role' (tasks/encoding.py)")
            tokenizer.chat_template = DEFAULT_TEMPLATE
        self.chat = chat
        self.opening = self.opened([])
        self.closing: Tokens = self.tokens(self._around([])[1]) if chat else []
        self._ending = self._after_answer() if chat else ""

    def digest(self) -> str:
        """Return the SHA-256 of the tokenizer and of what stands around questions and answers."""
        backend = self.tokenizer.backend_tokenizer.to_str()
        return digest(backend, self.opening, self.closing, self._ending)

    def opened(self, messages: Sequence[Message]) -> Tokens:
        """Return the tokens before the user's question when these messages stand before it, (t,)."""
        if not self.chat:
            start = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
            if start == (None, None):
                raise UserError(
                    "a sentence outside a conversation starts with the tokenizer's bos or eos token, and it has neither"
                    ".\nTry: eval.extra=[] or [bbq], whose rows are questions, or another model"
                )
            return [int(next(token for token in start if token is not None))]
        return self.tokens(self._around(messages)[0])

    def tokens(self, text: str) -> Tokens:
        """Return a text's tokens, without any special ones of the tokenizer's own."""
        found: Tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def questions(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of questions; none where there is no conversation."""
        return self._batch(texts) if self.chat else [[] for _ in texts]

    def answers(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of answers, each with the end of its turn."""
        return self._batch([text + self._ending for text in texts])

    def ends(self, texts: Sequence[str]) -> list[int]:
        """Return how many of each answer's tokens are the end of its turn alone, and no part of its text."""
        if not texts:
            return []
        whole = [text + self._ending for text in texts]
        spans = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return [sum(start >= len(text) for start, _ in places) for text, places in zip(texts, spans, strict=True)]

    def prompts(self, questions: Sequence[Tokens], answers: Sequence[int], longer: int = 0) -> list[Tokens]:
        """Return opening, question and closing, a question's middle cut where its sequence would be too long.

        `answers` are the lengths of the questions' longest answers; `longer` is what a prompt adds to each sequence.
        Raises UserError where too long ones are refused, or not even two tokens of a question would be left.
        """
        around = len(self.opening) + len(self.closing) + longer
        rooms = [self.limit.tokens - around - answer for answer in answers]
        over = [len(question) - room for question, room in zip(questions, rooms, strict=True) if len(question) > room]
        if over:
            least = max(min(2, len(question)) - room for question, room in zip(questions, rooms, strict=True))
            self._check(len(over), max(over), least, " behind the prompt" if longer else "")
            self.cut = max(self.cut, len(over))
        halves = [(max(room, 0) - max(room, 0) // 2, max(room, 0) // 2) for room in rooms]
        kept = [
            question if len(question) <= room else question[:first] + question[len(question) - last :]
            for question, room, (first, last) in zip(questions, rooms, halves, strict=True)
        ]
        return [[*self.opening, *question, *self.closing] for question in kept]

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

    def decoded(self, tokens: Tokens) -> str:
        """Return the text of generated tokens, without special ones."""
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return str(text).strip()

    def _batch(self, texts: Sequence[str]) -> list[Tokens]:
        if not texts:
            return []
        found: list[Tokens] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return found

    def _around(self, messages: Sequence[Message]) -> tuple[str, str]:
        text = self._render([*messages, {"role": "user", "content": MARK}], ask=True)
        before, _, after = text.partition(MARK)
        return before, after

    def _after_answer(self) -> str:
        question = {"role": "user", "content": "question"}
        text = self._render([question, {"role": "assistant", "content": MARK}], ask=False)
        return text.partition(MARK)[2].rstrip("\n")

    def _render(self, messages: list[Message], ask: bool) -> str:
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=ask, date_string=TODAY
        )
        return str(text)
