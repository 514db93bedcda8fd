"""A user's own rows for a chat model: from one file, with their ids and columns."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unlearnbench.contracts import DataInfo
from unlearnbench.data.columns import columns_of, ids_of
from unlearnbench.data.files import table_in
from unlearnbench.data.forms import FORMS, Form, Said, form_of, said
from unlearnbench.data.parts import Duplicates, Parts, content, divided, without_copies
from unlearnbench.data.records import REMEDY, records
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data
from unlearnbench.errors import UserError

log = logging.getLogger("unlearnbench")

ANSWER = ("answer",)
NAMED = 20
"""Up to this many different answer options are columns of their own; with more, columns are an option's place."""
BIAS = ("legitimate", "axis", "group")
"""The columns that scores hold where bias can be measured: pairs that differ in demographic words alone."""


@dataclass(frozen=True, eq=False)
class Read:
    """What is in the files: the rows of each part, their form, the names of the options, and the columns to score."""

    parts: Parts
    form: Form
    classes: tuple[str, ...]
    scored: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Chat(TextSettings):
    """Your own rows for a chat model: JSON lines, CSV or Parquet (dataset.root=FILE).

    `form` is the form of a row (null: found from the columns); `loss` says whether to train on all answers of a
    conversation or the last. A `split` column decides what is held out, or else seeded shares for `validation` and
    `test`; the rows of `test_file` are test rows too. `duplicates` says what to do with held-out rows that are also
    trained on.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})
    test_file: Path | None = field(metadata={"key": False})
    form: Form | None
    loss: Literal["all", "last"]
    validation: Annotated[float, Field(ge=0, le=0.5)]
    test: Annotated[float, Field(ge=0, le=0.5)]
    duplicates: Duplicates

    def info(self) -> DataInfo:
        """Describe the data set, which reads the file; raise UserError for a row that cannot be used."""
        parts = self._read.parts
        train, test = len(parts["train"]), len(parts["test"])
        return DataInfo(
            kind="text",
            classes=self._read.classes,
            train=min(train, self.limit or train),
            test=min(test, self.limit_test or test),
            shape=(),
            columns=tuple(parts["train"][0].facts),
        )

    def check(self) -> None:
        """Raise UserError if a file cannot be used."""
        self.info()

    def files(self) -> dict[str, Path]:
        """Return the files that `load` reads; their content is part of the run's key."""
        given = {"rows": self.root, "test rows": self.test_file}
        remedy = REMEDY.removeprefix("Try: ")
        return {name: table_in(file, "your rows", remedy) for name, file in given.items() if file is not None}

    def load(self) -> TextData:
        """Read the files."""
        read = self._read
        for name, count in Counter(content(row) for row in read.parts["train"]).most_common(1):
            if count > 1:
                log.warning("the training rows hold some conversations more than once, one of them %d times: to forget "
                            "one row is not to forget its copies (%r)", count, str(name)[:80])  # fmt: skip
        train, validation, test = (read.parts[name] for name in ("train", "validation", "test"))
        return text_data(
            self, self.info(), train, validation, test,
            chat=read.form != "text", every_answer=self.loss == "all", scored=read.scored,
        )  # fmt: skip

    @cached_property
    def _read(self) -> Read:
        if self.root is None:
            raise UserError(f"dataset=chat reads your own rows, and dataset.root is not set.\n{REMEDY}")
        own = records(self.root)
        rows = [*own, *(records(self.test_file) if self.test_file is not None else [])]
        form = form_of(rows, self.form)
        texts = [said(row, form) for row in rows]
        classes = classes_of(texts)
        facts = columns_of(rows, ids_of(rows, len(own)), FORMS[form])
        scored: tuple[str, ...] = ("id",)
        if classes != ANSWER and {"pair", "group"} <= facts.keys():
            facts.setdefault("legitimate", [False] * len(rows))
            scored += tuple(name for name in BIAS if name in facts)
            if not all(isinstance(value, bool) for value in facts["legitimate"]):
                raise UserError("the column legitimate must be true or false in each row.\nTry: the file without it")
        made = [
            row_of(text, classes, {name: values[number] for name, values in facts.items()})
            for number, text in enumerate(texts)
        ]
        return Read(without_copies(divided(self, rows, made, len(own)), self.duplicates), form, classes, scored)


def classes_of(texts: Sequence[Said]) -> tuple[str, ...]:
    """Return the names of the answer options; raise UserError if some rows have options and others have none."""
    most = max(len(text.options) for text in texts)
    if not most:
        return ANSWER
    if lacking := sum(not text.options for text in texts):
        raise UserError(
            f"{lacking} of {len(texts)} rows have no options, but others have.\nTry: options in each row, or in none"
        )
    different = tuple(dict.fromkeys(option for text in texts for option in text.options))
    return different if len(different) <= NAMED else tuple(f"option {number}" for number in range(1, most + 1))


def row_of(text: Said, classes: tuple[str, ...], facts: dict[str, object]) -> TextRow:
    """Turn what a row says into a row whose options are in the columns `classes`."""
    given = text.options or (text.answer,)
    by_name = set(given) <= set(classes)
    options = tuple((name if name in given else None) for name in classes) if by_name else given
    options += (None,) * (len(classes) - len(options))
    label = options.index(text.answer)
    return TextRow(
        prompt=text.question,
        options=options,
        label=label,
        corrected=label,
        pair=str(facts.get("pair", "")),
        cluster=str(facts.get("cluster", "")),
        facts=facts,
        history=text.history,
    )
