"""Embedded clinical notes with a planted bias; docs/clinical-notes.md is the datasheet.

The bias types are from Park et al. (2021), Physician Use of Stigmatizing Language in Patient Medical Records.
scripts/build_clinical_notes.py makes the file from hand-written templates; MIT licence.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from unlearnbench.contracts import DataInfo
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data
from unlearnbench.errors import UserError, nearest

FILE = Path(__file__).with_name("clinical_notes.jsonl.xz")
SHA256 = "b1ab81221c208cecc9a56b301d1f480fb04d6f9825151a10b914e8e844ebfe5f"
CLASSES = ("neutral", "biased", "discrepancy", "indicated", "not indicated")


@dataclass(frozen=True, kw_only=True)
class ClinicalNotes(TextSettings):
    """2,784 short clinical notes and assessments with a planted demographic bias, in counterfactual pairs.

    `axes` keeps only the bias templates of these demographic axes (null: all); `legitimate` keeps the templates in
    which sex or age rightly decides.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    axes: tuple[str, ...] | None
    legitimate: bool

    def info(self) -> DataInfo:
        """Describe the data set; raise UserError for an unknown axis."""
        self.check()
        known = sorted({values["axis"] for values in _lines() if not _is_legitimate(values)})
        for axis in self.axes or ():
            if axis not in known:
                raise UserError(
                    f"dataset.axes: unknown axis {axis!r}.{nearest(axis, known)}\n"
                    f"The axes are: {', '.join(known)}.\nTry: 'dataset.axes=[{known[0]}]'"
                )
        train, test = (sum(values["split"] == split for values in self._chosen()) for split in ("train", "test"))
        return DataInfo(
            kind="text",
            classes=CLASSES,
            train=min(train, self.limit or train),
            test=min(test, self.limit_test or test),
            shape=(),
            columns=("is_biased", "legitimate", "axis", "group", "template_id"),
        )

    def check(self) -> None:
        """Raise UserError if the embedded file is missing or damaged, or `axes` is empty."""
        if not FILE.exists() or hashlib.sha256(FILE.read_bytes()).hexdigest() != SHA256:
            raise UserError(
                f"the embedded data file {FILE.name} is missing or damaged.\nTry: install unlearnbench again"
            )
        if self.axes == ():
            raise UserError("dataset.axes=[] leaves nothing to unlearn.\nTry: dataset.axes=null")

    def load(self) -> TextData:
        """Read the embedded notes."""
        parts: dict[str, list[TextRow]] = {"train": [], "validation": [], "test": []}
        for values in self._chosen():
            parts[values["split"]].append(_row(values))
        return text_data(self, self.info(), parts["train"], parts["validation"], parts["test"])

    def _chosen(self) -> list[dict[str, Any]]:
        def wanted(values: dict[str, Any]) -> bool:
            return self.legitimate if _is_legitimate(values) else self.axes is None or values["axis"] in self.axes

        return [values for values in _lines() if wanted(values)]


@cache
def _lines() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in lzma.decompress(FILE.read_bytes()).decode().splitlines())


def _is_legitimate(values: dict[str, Any]) -> bool:
    return str(values["template_id"]).startswith("legitimate/")


def _row(values: dict[str, Any]) -> TextRow:
    """Turn a line of the file into a row.

    The two options of legitimate templates have their own columns.
    """
    legitimate = _is_legitimate(values)
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
        cluster=values["template_id"],
        facts={
            "is_biased": values["is_biased"],
            "biased_option": biased,
            "legitimate": legitimate,
            **{name: values[name] for name in ("axis", "group", "template_id")},
        },
    )
