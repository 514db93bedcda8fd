"""A tokenizer's chat template: conversations as text, and the text around the turns."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from unlearnbench.data.text import Turn
from unlearnbench.errors import UserError
from unlearnbench.tasks.rendering import Refused, Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("unlearnbench")

Message = dict[str, str]
Span = tuple[int, int]

PLACE = "\u241e{}\u241f"
"""Stands for the text of a numbered message while a template is looked at; no template or text contains it."""
PLACES = re.compile(PLACE.format(r"(\d+)"))
TODAY = date(2024, 7, 26)
"""The date we give to templates that print one (Llama 3.2's default), since runs must not depend on today's."""
CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('%{code}', '{TODAY.strftime('%' + code)}')" for code in "dbBYmyaAjeHIMSp")
    + " }}{%- endmacro -%}"
)
"""A macro that tells templates the same date as the time: transformers accepts no function from outside."""
DEFAULT_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + message['role'] + '\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
"""For tokenizers without a chat template: `### role` above each turn, an end-of-sequence token after each answer."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What a template writes around the m messages of a conversation, which depends on their roles only.

    `order` (m,) holds the messages' numbers as they are written, the last answer at the end; `around` (m + 1,) are the
    texts before, between and after them. `tail` is the end of the last one that belongs to no turn.
    """

    order: tuple[int, ...]
    around: tuple[str, ...]
    tail: str

    def closing(self, number: int) -> str:
        """Return what closes the turn of an answer: the text behind it, as far as it is also behind the last one."""
        behind, last = self.around[self.order.index(number) + 1], self.around[-1]
        closes = last[: len(last) - len(self.tail)]
        while not behind.startswith(closes):
            closes = closes[:-1]
        return closes


class Chat:
    """A chat template. Raises UserError for one that does not write the question and then the answer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            log.warning("the tokenizer has no chat template; using '### role' above each turn (tasks/chat.py)")
            tokenizer.chat_template = DEFAULT_TEMPLATE
        self.template = str(tokenizer.get_chat_template())
        names = {"date_string": TODAY.strftime("%d %b %Y"), "add_generation_prompt": False}
        written = CLOCK + self.template if "strftime_now" in self.template else self.template
        self._renderer = Renderer(written, {**tokenizer.special_tokens_map, **names})
        self._frames: dict[tuple[str, ...], Frame] = {}
        self.frame(("user", "assistant"))

    def render(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Return the conversations as text; raise UserError if the template rejects one."""
        try:
            return self._renderer.render(conversations)
        except Refused as error:
            roles = [message["role"] for message in conversations[0]]
            without = "rows and methods without a system message (prompt has one), or " if "system" in roles else ""
            raise UserError(
                f"the model's chat template rejects a conversation of {', '.join(roles)} ({error}).\n"
                f"Try: {without}a model with another template"
            ) from error

    def frame(self, roles: tuple[str, ...]) -> Frame:
        """Return what the template writes around messages of these roles, the last of which is the answer."""
        if roles not in self._frames:
            (text,) = self.render([[{"role": role, "content": PLACE.format(n)} for n, role in enumerate(roles)]])
            order = tuple(int(number) for number in PLACES.findall(text))
            around = tuple(PLACES.split(text)[::2])
            if sorted(order) != list(range(len(roles))) or order[-1] != len(roles) - 1:
                raise UserError(
                    "the tokenizer's chat template must write the question and then the answer, and each message once; "
                    f"of {', '.join(roles)} it does not.\nTry: another model"
                )
            self._frames[roles] = Frame(order, around, self._tail(around[-1]))
        return self._frames[roles]

    def placed(self, text: str, messages: Sequence[Message]) -> tuple[Frame, list[Span]]:
        """Return the frame of a rendered conversation, and where in the text each message is.

        Raises UserError if the template changed a message otherwise than by removing blanks around it.
        """
        frame = self.frame(tuple(message["role"] for message in messages))
        spans: dict[int, Span] = {}
        place = len(frame.around[0]) if text.startswith(frame.around[0]) else len(text) + 1
        for number, behind in zip(frame.order, frame.around[1:], strict=True):
            content = messages[number]["content"]
            for said in (content, content.strip()):
                if text.startswith(said + behind, place):
                    spans[number] = (place, place + len(said))
                    place += len(said + behind)
                    break
        if len(spans) < len(messages) or place != len(text):
            said = ", ".join(repr(message["content"][:60]) for message in messages[-2:])
            raise UserError(
                f"the tokenizer's chat template changes the text: {said} becomes {text[:200]!r}.\n"
                "Try: another model, or the data without that row"
            )
        return frame, [spans[number] for number in range(len(messages))]

    def _tail(self, after: str) -> str:
        """Return the text after the answer's turn: after its first special token, or the final newlines."""
        added = self.tokenizer.added_tokens_decoder.values()
        special = {*self.tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        ends = [after.index(token) + len(token) for token in special if token in after]
        return after[min(ends) :] if ends else _newlines(after)


def turns(question: str, answer: str, history: Sequence[Turn] = ()) -> list[Message]:
    """Return the turns before a question, the question and its answer as the messages of a conversation."""
    said = [*history, ("user", question), ("assistant", answer)]
    return [{"role": role, "content": content} for role, content in said]


def _newlines(text: str) -> str:
    """Return the newlines at the end of a text; a template's final ones belong to no turn."""
    return text[len(text.rstrip("\n")) :]
