"""A tokenizer's chat template: conversations as text, and the text around the turns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError
from unlearnbench.tasks.rendering import Refused, Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("unlearnbench")

Message = dict[str, str]

QUESTION, ANSWER = "\u241e", "\u241f"
"""Placeholders for the texts of the turns while a template is rendered; no template or text contains them."""
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


class Chat:
    """A chat template, which writes `before`, the question, `between`, the answer and `after`.

    `tail` is the part of `after` that follows the answer's turn. Raises UserError for a template that works otherwise.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            log.warning("the tokenizer has no chat template; using '### role' above each turn (tasks/chat.py)")
            tokenizer.chat_template = DEFAULT_TEMPLATE
        template = tokenizer.get_chat_template()
        names = {"date_string": TODAY.strftime("%d %b %Y"), "add_generation_prompt": False}
        written = CLOCK + template if "strftime_now" in template else template
        self._renderer = Renderer(written, {**tokenizer.special_tokens_map, **names})
        self.before, self.between, self.after = self._around()
        self.tail = self._behind_the_turn()

    def render(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Return the conversations as text; raise UserError if the template rejects one."""
        try:
            return self._renderer.render(conversations)
        except Refused as error:
            roles = ", ".join(message["role"] for message in conversations[0])
            raise UserError(
                f"the model's chat template rejects a conversation of {roles} ({error}).\n"
                "Try: another method (prompt needs a system message), or a model with another template"
            ) from error

    def said(self, text: str, question: str, answer: str) -> tuple[str, str]:
        """Return question and answer as the template writes them; raise UserError if changed."""
        for said in dict.fromkeys((question, question.strip())):
            for replied in dict.fromkeys((answer, answer.strip())):
                if text == f"{self.before}{said}{self.between}{replied}{self.after}":
                    return said, replied
        raise UserError(
            f"the tokenizer's chat template changes the text: {question[:60]!r}, {answer[:60]!r} becomes "
            f"{text[:200]!r}.\nTry: another model, or the data without that row"
        )

    def _around(self) -> tuple[str, str, str]:
        """Return the template's text before the question, between, and after the answer."""
        text = self.render([turns(QUESTION, ANSWER)])[0]
        before, asked, rest = text.partition(QUESTION)
        between, replied, after = rest.partition(ANSWER)
        if not asked or not replied or QUESTION in rest or ANSWER in after:
            raise UserError(
                "the tokenizer's chat template must write the question and then the answer, once each.\n"
                "Try: another model"
            )
        return before, between, after

    def _behind_the_turn(self) -> str:
        """Return the text after the answer's turn: after its first special token, or the final newlines."""
        added = self.tokenizer.added_tokens_decoder.values()
        special = {*self.tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        ends = [self.after.index(token) + len(token) for token in special if token in self.after]
        return self.after[min(ends) :] if ends else _newlines(self.after)


def turns(question: str, answer: str) -> list[Message]:
    """Return a question and its answer as the turns of a conversation."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _newlines(text: str) -> str:
    """Return the newlines at the end of a text; a template's final ones belong to no turn."""
    return text[len(text.rstrip("\n")) :]
