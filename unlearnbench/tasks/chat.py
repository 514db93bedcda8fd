"""A tokenizer's chat template: what it puts around a question and its answer, and conversations as texts."""

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
"""Stand for the turns' texts while a template is rendered; no template or text has them."""
TODAY = date(2024, 7, 26)
"""The day that templates which print a date are given (Llama 3.2's own stand-in): a run must not depend on it."""
CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('%{code}', '{TODAY.strftime('%' + code)}')" for code in "dbBYmyaAjeHIMSp")
    + " }}{%- endmacro -%}"
)
"""What tells the time to templates that ask for it, of that day too: transformers takes no function from outside."""
DEFAULT_TEMPLATE = (
    "{% for message in messages %}{{ '### ' + message['role'] + '\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant\n' }}{% endif %}"
)
"""For tokenizers without a chat template: turns headed `### role`, answers ended by the end-of-sequence token."""


class Chat:
    """A chat template that puts a question and its answer between `before`, `between` and `after`.

    `tail` is what of `after` stands behind the answer's turn. Raises UserError for a template that does otherwise.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            log.warning("the tokenizer has no chat template; turns are headed '### role' (tasks/chat.py)")
            tokenizer.chat_template = DEFAULT_TEMPLATE
        template = tokenizer.get_chat_template()
        names = {"date_string": TODAY.strftime("%d %b %Y"), "add_generation_prompt": False}
        written = CLOCK + template if "strftime_now" in template else template
        self._renderer = Renderer(written, {**tokenizer.special_tokens_map, **names})
        self.before, self.between, self.after = self._around()
        self.tail = self._behind_the_turn()

    def render(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Return conversations as texts; raise UserError if the template refuses one."""
        try:
            return self._renderer.render(conversations)
        except Refused as error:
            roles = ", ".join(message["role"] for message in conversations[0])
            raise UserError(
                f"the model's chat template refuses a conversation of {roles} ({error}).\n"
                "Try: another method (prompt needs a system message), or a model with another template"
            ) from error

    def said(self, text: str, question: str, answer: str) -> tuple[str, str]:
        """Return question and answer as the template has them: as they are, or stripped; else raise UserError."""
        for said in dict.fromkeys((question, question.strip())):
            for replied in dict.fromkeys((answer, answer.strip())):
                if text == f"{self.before}{said}{self.between}{replied}{self.after}":
                    return said, replied
        raise UserError(
            f"the tokenizer's chat template changes what is said: {question[:60]!r}, {answer[:60]!r} becomes "
            f"{text[:200]!r}.\nTry: another model, or the data without that row"
        )

    def _around(self) -> tuple[str, str, str]:
        """Return what the template puts before a question, between it and its answer, and behind the answer."""
        text = self.render([turns(QUESTION, ANSWER)])[0]
        before, asked, rest = text.partition(QUESTION)
        between, replied, after = rest.partition(ANSWER)
        if not asked or not replied or QUESTION in rest or ANSWER in after:
            raise UserError(
                "the tokenizer's chat template does not put a question and its answer once each, in this order.\n"
                "Try: another model"
            )
        return before, between, after

    def _behind_the_turn(self) -> str:
        """Return what the template puts behind an answer's turn: after its first special token, or last newlines."""
        added = self.tokenizer.added_tokens_decoder.values()
        special = {*self.tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        ends = [self.after.index(token) + len(token) for token in special if token in self.after]
        return self.after[min(ends) :] if ends else _newlines(self.after)


def turns(question: str, answer: str) -> list[Message]:
    """Return a question and its answer as the turns of a conversation."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _newlines(text: str) -> str:
    """Return the newlines at the end of a text: a template's last ones belong to nobody's turn."""
    return text[len(text.rstrip("\n")) :]
