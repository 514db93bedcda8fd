"""Text data sets in memory: questions with answer options, and their twins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unlearnbench.contracts import DataInfo, GivenSet, Index, Trigger
from unlearnbench.data.sampling import units
from unlearnbench.errors import UserError
from unlearnbench.ranges import AnySeed, Limit

Column = NDArray[np.generic]
Turn = tuple[str, str]
"""A role (system, user or assistant) and what it says."""
LEAVE_OUT = "\nTry: the data without that row"


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """The settings of every text data set.

    `limit`, `limit_test` and `limit_validation` take seeded subsets and keep counterfactual pairs together. `context`
    is the longest sequence in tokens; `too_long` says whether to cut the middle of longer prompts or refuse them.
    """

    limit: Limit | None
    limit_test: Limit | None
    limit_validation: Annotated[int, Field(ge=2, le=10**9)] | None
    context: Annotated[int, Field(ge=16, le=2**20)]
    too_long: Literal["cut", "refuse"]
    seed: AnySeed


@dataclass(frozen=True, kw_only=True)
class TextRow:
    """One question with its `options` by column; None where this row has no such option.

    `label` is the column of the answer to train on, `corrected` that of the corrected answer; `correction` is its text
    if it is not an option (a refusal). Rows of one `pair` are sampled together. Rows of one `cluster` are not
    independent (one template, author or patient; by default the rows of a pair). `facts` hold everything else.
    `history` are the turns before the prompt, oldest first. `rephrased` is the prompt in other words, where the data
    have it.
    """

    prompt: str
    options: tuple[str | None, ...]
    label: int
    corrected: int
    correction: str | None = None
    pair: str = ""
    cluster: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    history: tuple[Turn, ...] = ()
    rephrased: str | None = None


@dataclass(frozen=True, eq=False)
class TextData:
    """A loaded text data set of n rows; contracts.Data describes the fields.

    Positions n to 2n - 1 are the rows' twins: the same questions with the corrected answers. With `chat`, prompts are
    a user's turn in the model's chat template, otherwise the answers are bare texts. `given` are the forget sets that
    come with the data set, by name. With `every_answer`, models are also trained on the answers in the rows' histories.
    `scored` names the columns that scores hold; None is all of them.
    """

    info: DataInfo
    rows: tuple[TextRow, ...]
    train: Index
    validation: Index
    test: Index
    chat: bool = True
    given: Mapping[str, GivenSet] = field(default_factory=dict)
    every_answer: bool = False
    scored: tuple[str, ...] | None = None
    same: ClassVar[Literal["copies", "twins"]] = "twins"

    @cached_property
    def labels(self) -> Index:
        """The column of the answer to train on, for rows and then twins, (2n,) int64."""
        return np.array([row.label for row in self.rows] + [row.corrected for row in self.rows], dtype=np.int64)

    @property
    def subclass(self) -> Index:
        """The same as `labels`: text has no finer ones."""
        return self.labels

    @cached_property
    def unit(self) -> Index:
        """The position of the first row of each row's pair, (n,) int64."""
        return firsts([row.pair for row in self.rows])

    @cached_property
    def cluster(self) -> Index:
        """The position of the first row of each row's cluster, (n,) int64."""
        return firsts([row.cluster or row.pair for row in self.rows])

    @cached_property
    def corrected(self) -> Index | None:
        """The position of each row's twin, (n,) int64; None if no answer is corrected."""
        any_corrected = any(row.correction or row.corrected != row.label for row in self.rows)
        return np.arange(len(self.rows)) + len(self.rows) if any_corrected else None

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The facts of all rows by name, (n,)."""
        names = self.rows[0].facts if self.rows else {}
        return {name: np.array([row.facts[name] for row in self.rows]) for name in names}

    def answer(self, position: int) -> str:
        """Return the answer that a row, or a twin, is trained on."""
        row = self.rows[position % len(self.rows)]
        if position >= len(self.rows):
            return row.correction or row.options[row.corrected] or ""
        return row.options[row.label] or ""

    def choices(self, index: Index) -> NDArray[np.bool_]:
        """Return the columns in which the rows at these positions, or twins, have an option, (n, c)."""
        rows = (self.rows[place % len(self.rows)] for place in index.tolist())
        return np.array([[option is not None for option in row.options] for row in rows], dtype=np.bool_)

    def manipulated(self, labels: Index, marked: Index, trigger: Trigger | None) -> TextData:
        """Return this data set with other labels (n,), and with a trigger's word before the questions at `marked`."""
        rows = [replace(row, label=label) for row, label in zip(self.rows, labels.tolist(), strict=True)]
        if trigger is not None:
            for place in marked.tolist():
                rows[place] = replace(rows[place], prompt=f"{trigger.word} {rows[place].prompt}")
        return replace(self, rows=tuple(rows))

    def told(self, position: int) -> tuple[str, str]:
        """Return the question of a row, or twin, and its answer."""
        return self.rows[position % len(self.rows)].prompt, self.answer(position)

    def pixels(self, position: int) -> None:
        """Return None: a row has no picture."""

    def fingerprint(self, index: Index) -> str:
        """Return the SHA-256 of the rows, answers and positions at `index`."""
        return hashlib.sha256(index.tobytes() + self._digests[index % len(self.rows)].tobytes()).hexdigest()

    @cached_property
    def _digests(self) -> NDArray[np.void]:
        """The SHA-256 of each row, (n,): computed once, however many sets of positions are asked for."""
        kind = (self.chat, self.every_answer)
        texts = (json.dumps([kind, *vars(row).values()], default=dict, sort_keys=True) for row in self.rows)
        return np.array([hashlib.sha256(text.encode()).digest() for text in texts], "V32")


def text_data(
    settings: TextSettings,
    info: DataInfo,
    train: Sequence[TextRow],
    validation: Sequence[TextRow],
    test: Sequence[TextRow],
    chat: bool = True,
    asked: Sequence[TextRow] = (),
    every_answer: bool = False,
    scored: tuple[str, ...] | None = None,
) -> TextData:
    """Build a data set from its parts, each within its limit.

    Raises UserError for a row without a valid answer. `asked` rows come after the others and belong to no part; a
    forget set may be scored on them. TextData describes the other arguments.
    """
    chosen = {
        "train": sampled(train, settings.limit, settings.seed, "limit"),
        "validation": sampled(validation, settings.limit_validation, settings.seed, "limit_validation"),
        "test": sampled(test, settings.limit_test, settings.seed, "limit_test"),
    }
    rows = (*(row for part in chosen.values() for row in part), *asked)
    for number, row in enumerate(rows):
        check_row(row, f"row {number}", asks=chat)
    first, second, third = np.cumsum([len(part) for part in chosen.values()]).tolist()
    return TextData(
        info=info,
        rows=rows,
        train=np.arange(first),
        validation=np.arange(first, second),
        test=np.arange(second, third),
        chat=chat,
        every_answer=every_answer,
        scored=scored,
    )


def sampled(rows: Sequence[TextRow], limit: int | None, seed: int, name: str) -> list[TextRow]:
    """Draw at most `limit` rows, keeping pairs together and the rows in order."""
    if limit is None or limit >= len(rows):
        return list(rows)
    unit = firsts([row.pair for row in rows])
    return [rows[place] for place in units(np.arange(len(rows)), unit, limit, seed, name)]


def firsts(names: Sequence[str]) -> Index:
    """Return the first place of each name, (n,) int64; an empty name gets its own place."""
    first: dict[str | int, int] = {}
    return np.array([first.setdefault(name or place, place) for place, name in enumerate(names)], dtype=np.int64)


def check_row(row: TextRow, name: str, *, asks: bool = True) -> None:
    """Raise UserError for a row with an empty answer, or one that is not among its options.

    Where rows are questions (`asks`), an empty one is wrong too.
    """
    known = [option for option in row.options if option is not None]
    for column in (row.label, row.corrected):
        if not 0 <= column < len(row.options) or row.options[column] is None:
            raise UserError(
                f"{name} ({row.prompt[:60]!r}) has an answer that is not among its options {known}.{LEAVE_OUT}"
            )
    if not all(option.strip() for option in known) or (asks and not row.prompt.strip()):
        raise UserError(f"{name} ({row.prompt[:60]!r}) has an empty answer or question.{LEAVE_OUT}")
