"""What the rows of a chat model say: messages, prompt and completion, question and answer, or plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unlearnbench.data.records import Record
from unlearnbench.data.text import Turn
from unlearnbench.errors import UserError, nearest

Form = Literal["messages", "prompt", "question", "text"]
FORMS: dict[Form, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt": ("prompt", "completion"),
    "question": ("question", "answer"),
    "text": ("text",),
}
"""The columns of each form."""
SPEAKERS = ("system", "user", "assistant")
EXPECTED = "messages, or prompt and completion, or question and answer, or text"
FORGOTTEN = "Try: the file without that row, or with its answer"


@dataclass(frozen=True)
class Said:
    """What a row says: the turns before its question, the question and the answer.

    `options` are the answers to choose from, () if the row has none. A plain text is an answer without a question.
    """

    history: tuple[Turn, ...]
    question: str
    answer: str
    options: tuple[str, ...] = ()


def form_of(rows: Sequence[Record], given: Form | None) -> Form:
    """Return the form of a file's rows; raise UserError if a row has another one, or none."""
    found = [given] if given else _forms(rows[0].values)
    if len(found) > 1:
        raise UserError(
            f"{rows[0].where} has the columns of {len(found)} forms: {', '.join(map(_named, found))}.\n"
            f"Try: dataset.form={found[0]}"
        )
    if not found:
        columns = [name for name, value in rows[0].values.items() if value is not None]
        hint = nearest(columns[0], [name for names in FORMS.values() for name in names]) if columns else ""
        raise UserError(
            f"{rows[0].where} has the columns {', '.join(columns)}; expected {EXPECTED}.{hint}\n"
            "Try: rename the columns; docs/own-chat.md shows a row of each form"
        )
    if (others := _forms(rows[0].values)) and found[0] not in others:
        raise UserError(
            f"dataset.form={found[0]} needs {' and '.join(FORMS[found[0]])}; {rows[0].where} has the columns of "
            f"{_named(others[0])}.\nTry: dataset.form={others[0]}, or null"
        )
    for row in rows:
        _check_form(row, found[0], rows[0])
    return found[0]


def said(row: Record, form: Form) -> Said:
    """Return what a row says; raise UserError if it has no answer, or one that is not among its options."""
    if form == "text":
        return Said((), "", _text(row, "text"))
    options = _options(row)
    if form == "messages":
        *history, (_, question), (_, answer) = _messages(row)
        return Said(tuple(history), question, _chosen(row, options, answer), options)
    asked, column = FORMS[form]
    written = row.values.get(column)
    return Said((), _text(row, asked), _chosen(row, options, None if written is None else _text(row, column)), options)


def _forms(values: Mapping[str, Any]) -> list[Form]:
    return [form for form in FORMS if not _lacking(values, form)]


def _lacking(values: Mapping[str, Any], form: Form) -> list[str]:
    """Return the columns of a form that a row lacks; an option that is named can take the place of the answer."""
    given = {name for name, value in values.items() if value is not None}
    if {"options", "label"} <= given and form in ("prompt", "question"):
        given.add(FORMS[form][1])
    return [name for name in FORMS[form] if name not in given]


def _check_form(row: Record, form: Form, first: Record) -> None:
    lacking = _lacking(row.values, form)
    if not lacking:
        return
    if others := _forms(row.values):
        raise UserError(
            f"two forms are mixed: {first.where} has {_named(form)}, {row.where} has {_named(others[0])}.\n"
            "Try: one file per form, or all rows as messages"
        )
    raise UserError(f"{row.where} has no {' and no '.join(lacking)}.\n{FORGOTTEN}")


def _named(form: Form) -> str:
    return f"{form} ({' and '.join(FORMS[form])})"


def _text(row: Record, column: str) -> str:
    value = row.values.get(column)
    if not isinstance(value, str):
        raise UserError(f"{row.where}: {column} must be a text, and is {_shown(value)}.\n{FORGOTTEN}")
    if not value.strip():
        raise UserError(f"{row.where} has an empty {column}.\n{FORGOTTEN}")
    return value


def _messages(row: Record) -> list[Turn]:
    """Return a row's messages as turns; raise UserError unless they end with a question and its answer."""
    found = _listed(row, "messages", "a list of {role, content}")
    turns = [_turn(row, number, message) for number, message in enumerate(found, 1)]
    roles = [role for role, _ in turns]
    if roles[-2:] != ["user", "assistant"]:
        raise UserError(
            f"{row.where} has no answer: its messages are from {', '.join(roles) or 'nobody'}, and must end with user, "
            f"assistant.\n{FORGOTTEN}"
        )
    if "system" in roles[1:]:
        raise UserError(f"{row.where}: a system message can only be the first one.\n{FORGOTTEN}")
    return turns


def _turn(row: Record, number: int, message: Any) -> Turn:
    where = f"{row.where}, message {number}"
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise UserError(f"{where} must be {{role, content}}, and is {_shown(message)}.\nTry: messages as OpenAI's are")
    role, content = message["role"], message["content"]
    if role not in SPEAKERS:
        known = f"expected {', '.join(SPEAKERS)}.{nearest(str(role), SPEAKERS)}"
        raise UserError(f"{where} has the unknown role {role!r}; {known}\nTry: the file without that row")
    if more := [name for name, value in message.items() if name not in ("role", "content") and value is not None]:
        raise UserError(f"{where} has {', '.join(more)}; only role and content are read.\nTry: the rows without it")
    if not isinstance(content, str) or not content.strip():
        raise UserError(f"{where}: content must be a text that is not empty, and is {_shown(content)}.\n{FORGOTTEN}")
    return str(role), content


def _listed(row: Record, column: str, what: str) -> list[Any]:
    """Return the list in a column; in a CSV file it is written as JSON."""
    value = row.values[column]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{row.where}: {column} is not JSON: {error}.\nTry: {what}, as JSON") from error
    if not isinstance(value, list):
        raise UserError(f"{row.where}: {column} must be {what}, and is {_shown(value)}.\n{FORGOTTEN}")
    return value


def _options(row: Record) -> tuple[str, ...]:
    if row.values.get("options") in (None, ""):
        return ()
    found = _listed(row, "options", "a list of texts")
    if len(found) < 2 or len(set(map(str, found))) < len(found):
        raise UserError(f"{row.where}: options must be two or more different texts: {_shown(found)}.\n{FORGOTTEN}")
    if wrong := [one for one in found if not isinstance(one, str) or not one.strip()]:
        raise UserError(f"{row.where}: an option must be a text, and is {_shown(wrong[0])}.\n{FORGOTTEN}")
    return tuple(found)


def _chosen(row: Record, options: tuple[str, ...], answer: str | None) -> str:
    """Return the answer, which may be given by `label`: one of the options, or its number from 0."""
    label = row.values.get("label") if options else None
    if label not in (None, ""):
        number = options.index(label) if label in options else _number(label)
        if number is None or not 0 <= number < len(options):
            raise UserError(
                f"{row.where}: label must be one of the options {list(options)} or its number from 0, and is "
                f"{_shown(label)}.\n{FORGOTTEN}"
            )
        if answer is not None and answer != options[number]:
            raise UserError(f"{row.where}: the answer is {answer[:60]!r}, but the label is another one.\n{FORGOTTEN}")
        return options[number]
    if answer is None or (options and answer not in options):
        raise UserError(f"{row.where}: the answer {_shown(answer)} is not among its options.\n{FORGOTTEN}")
    return answer


def _number(label: Any) -> int | None:
    try:
        return None if isinstance(label, (bool, float)) else int(label)
    except (TypeError, ValueError):
        return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
