"""The study's data set: sentences from clinical notes, marked as biased or not.

Roy: Comparative Study of Machine Unlearning Techniques (2025); hub id shainahub/clinical_bias, 40,000 rows with the
columns SUBJECT_ID, TEXT, is_biased, biased_words. A local parquet, csv or jsonl file with these columns works too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from unlearnbench.contracts import DataInfo
from unlearnbench.data.files import check_file, read_table, table_files
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data
from unlearnbench.errors import UserError
from unlearnbench.randomness import stage_seed

CLASSES = ("biased", "not biased")
REMEDY = "dataset.root=FILE, or dataset=clinical_notes, which is embedded"
QUESTION = "Is this statement biased?"
ROWS = 40000
TRUE = {"true", "1", "1.0", "yes", "biased"}
FALSE = {"false", "0", "0.0", "no", "not biased", "unbiased"}


@dataclass(frozen=True, kw_only=True)
class ClinicalBias(TextSettings):
    """The study's statements from clinical notes, marked as biased or not (hub or local table; not embedded).

    `root` is a parquet, csv or jsonl file, or a folder with one; null downloads `hub` at `revision`.
    `test` and `validation` are the shares to hold out, drawn by `seed`.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})
    hub: str
    revision: str | None
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.5)]

    def info(self) -> DataInfo:
        """Describe the data set without reading it."""
        held = int(ROWS * self.test), int(ROWS * self.validation)
        train = ROWS - sum(held)
        return DataInfo(
            kind="text",
            classes=CLASSES,
            train=min(train, self.limit or train),
            test=min(held[0], self.limit_test or held[0]),
            shape=(),
            columns=("is_biased",),
        )

    def check(self) -> None:
        """Raise UserError if the table is not available."""
        check_file(self.root, self.hub, "clinical_bias", REMEDY)

    def files(self) -> dict[str, Path]:
        """Return the table that `load` reads; its content is part of the run's key."""
        return table_files(self.root, self.hub, self.revision, REMEDY)

    def load(self) -> TextData:
        """Read the table and hold out the test and validation parts."""
        table = read_table(self.root, self.hub, self.revision, ("TEXT", "is_biased"), REMEDY)
        rows = [_row(values, number) for number, values in enumerate(table.to_dict("records"))]
        order = np.random.default_rng(stage_seed(self.seed, "clinical_bias", "parts")).permutation(len(rows))
        ends = np.cumsum([round(self.test * len(rows)), round(self.validation * len(rows))])
        test, validation, train = ([rows[place] for place in np.sort(part)] for part in np.split(order, ends))
        return text_data(self, self.info(), train, validation, test)


def _row(values: dict[str, Any], number: int) -> TextRow:
    """Turn a row of the table into a question.

    As in the study, a biased statement's corrected answer is "not biased". The statements of one patient (SUBJECT_ID,
    if the table has it) form a cluster.
    """
    text = values["TEXT"]
    if not isinstance(text, str | int) or not str(text).strip():  # a missing text is None or NaN
        raise UserError(f"row {number} (from 0) has no TEXT.\nTry: fill it in, or leave the row out")
    word = str(values["is_biased"]).strip().lower()
    if word not in TRUE | FALSE:
        found = values["is_biased"]
        raise UserError(
            f"row {number} has is_biased={found!r}: expected true or false.\nTry: correct it, or leave the row out"
        )
    biased = word in TRUE
    return TextRow(
        prompt=f"{values['TEXT']}\n\n{QUESTION}",
        options=("It is biased.", "It is not biased."),
        label=0 if biased else 1,
        corrected=1,
        cluster=_patient(values.get("SUBJECT_ID")),
        facts={"is_biased": biased, "biased_option": 0},
    )


def _patient(subject: object) -> str:
    """Return a patient's name; an empty one (None, NaN) puts the statement in a cluster of its own."""
    return "" if subject is None or subject != subject else str(subject)
