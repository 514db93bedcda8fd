"""Room for other answers: whether they fit into the context behind their questions, known before anything trains."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError
from unlearnbench.tasks.encoding import Asked

if TYPE_CHECKING:
    from unlearnbench.contracts import Index
    from unlearnbench.tasks.text import TextTask


def check_room(task: TextTask, index: Index, answer: str, name: str) -> None:
    """Raise UserError where the questions at these positions leave no room for an answer; `name` says which it is."""
    rows = (task.data.rows[place % len(task.data.rows)] for place in index.tolist())
    check_asked(task, (Asked(row.prompt, (answer,), row.history) for row in rows), name)


def check_asked(task: TextTask, asked: Iterable[Asked], name: str) -> None:
    """Raise UserError where conversations are too long; `name` says what makes them so.

    The task's own count of sequences that were cut stays as it is.
    """
    try:
        copy.copy(task.encoder).encode(list(asked))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
