"""Clinical notes with a planted bias, embedded and written for this project: docs/clinical-notes.md is its datasheet.

Bias types as Park et al. (2021), Physician Use of Stigmatizing Language in Patient Medical Records, name them.
scripts/build_clinical_notes.py makes the file from hand-written templates; MIT licence.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.data.text import TextData, TextRow, TextSettings, assemble
from unlearnbench.errors import UserError
from unlearnbench.problem import DataInfo

FILE = Path(__file__).with_name("clinical_notes.jsonl.xz")
SHA256 = "89ace572522904f1da23bb4cb9cac57992202386a426b2ccc64ada801fe13070"
COUNTS = {"train": 2004, "validation": 228, "test": 552}
CLASSES = ("neutral", "biased", "discrepancy", "indicated", "not indicated")
LEGITIMATE = "legitimate"


@dataclass(frozen=True, kw_only=True)
class ClinicalNotes(TextSettings):
    """2,784 short clinical notes and assessments with a planted demographic bias, in counterfactual pairs."""

    def info(self) -> DataInfo:
        """Say what the data set holds, without reading it."""
        train, test = (COUNTS["train"], self.limit), (COUNTS["test"], self.limit_test)
        return DataInfo(
            kind="text",
            classes=CLASSES,
            train=min(train[0], train[1] or train[0]),
            test=min(test[0], test[1] or test[0]),
            shape=(),
            columns=("is_biased", "legitimate", "axis", "group", "template_id"),
        )

    def check(self) -> None:
        """Raise UserError where the embedded file is missing or damaged."""
        if not FILE.exists() or hashlib.sha256(FILE.read_bytes()).hexdigest() != SHA256:
            raise UserError(
                f"the embedded data file {FILE.name} is missing or damaged.\nTry: install unlearnbench again"
            )

    def load(self) -> TextData:
        """Read the embedded notes."""
        self.check()
        lines = lzma.decompress(FILE.read_bytes()).decode().splitlines()
        parts: dict[str, list[TextRow]] = {name: [] for name in COUNTS}
        for line in lines:
            values = json.loads(line)
            parts[values["split"]].append(_row(values))
        return assemble(self, self.info(), parts["train"], parts["validation"], parts["test"])


def _row(values: dict[str, Any]) -> TextRow:
    """Turn a line of the file into a row; a legitimate template's two options have columns of their own."""
    legitimate = values["template_id"].startswith(f"{LEGITIMATE}/")
    options: tuple[str, ...] = tuple(values["options"])
    columns = (None,) * 3 + options if legitimate else options + (None,) * 2
    corrected = columns.index(values["answer"])
    biased = -1 if legitimate else columns.index(values["biased_answer"])
    return TextRow(
        prompt=f"{values['text']}\n\n{values['question']}",
        options=columns,
        label=biased if values["is_biased"] else corrected,
        corrected=corrected,
        pair="/".join(sorted((values["id"], values["counterfactual_id"]))),
        facts={
            "is_biased": values["is_biased"],
            "biased_option": biased,
            "legitimate": legitimate,
            **{name: values[name] for name in ("axis", "group", "template_id")},
        },
    )
