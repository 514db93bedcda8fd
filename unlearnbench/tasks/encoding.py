"""From conversations to tokens: the model's own chat template, once per text, cut where the context ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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


class Encoder:
    """Turns questions and answers into tokens: opening, question, closing of the question, answer.

    The parts are tokenised apart, so that the opening (what stands before the user's question) can be exchanged, and
    the question cut in its middle. `cut` counts the sequences that were longer than `context` tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: bool, context: int, too_long: str) -> None:
        self.tokenizer, self.context, self.too_long, self.cut = tokenizer, context, too_long, 0
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
            start = self.tokenizer.bos_token_id
            return [int(start if start is not None else self.tokenizer.eos_token_id)]
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

    def prompt(self, question: Tokens, answer_length: int) -> Tokens:
        """Return opening, question and closing, the question's middle cut where the sequence would be too long."""
        room = self.context - len(self.opening) - len(self.closing) - answer_length
        if len(question) > room:
            if self.too_long == "refuse" or room < 2:
                raise UserError(
                    f"a sequence of {self.context - room + len(question)} tokens is over dataset.context={self.context}"
                    f".\nTry: dataset.too_long=cut, or dataset.context={2 * self.context}"
                )
            self.cut += 1
            question = question[: room - room // 2] + question[len(question) - room // 2 :]
        return [*self.opening, *question, *self.closing]

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
