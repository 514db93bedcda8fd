"""BBQ: questions with a known biased answer; for evaluation only.

Parrish et al.: BBQ: A Hand-Built Bias Benchmark for Question Answering, ACL Findings 2022, arXiv:2110.08193; CC BY 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from unlearnbench.contracts import DataInfo
from unlearnbench.data.files import json_lines
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data
from unlearnbench.errors import UserError

NEEDED = (
    "answer_info", "additional_metadata", "question_polarity", "context_condition", "context", "question",
    "category", "question_index", "ans0", "ans1", "ans2", "label",
)  # fmt: skip
SAME = {
    "man": "m", "men": "m", "boy": "m", "woman": "f", "women": "f", "girl": "f", "girls": "f",
    "low ses": "lowses", "high ses": "highses",
}  # fmt: skip
"""Synonyms for a group, from the authors' analysis_scripts/BBQ_results_metadata.R."""


@dataclass(frozen=True, kw_only=True)
class Bbq(TextSettings):
    """BBQ, all categories in a local folder of its JSON lines (evaluation only: eval.extra=[bbq])."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})

    def info(self) -> DataInfo:
        """Describe the data set without reading it.

        The row count depends on the categories in the folder.
        """
        classes = ("first", "second", "third")
        return DataInfo(kind="text", classes=classes, train=0, test=self.limit_test or 0, shape=())

    def check(self) -> None:
        """Raise UserError if the folder has no category."""
        if not self._files():
            found = "eval.root is not set" if self.root is None else f"{self.root} has no *.jsonl files of BBQ"
            raise UserError(f"bbq: {found}.\nTry: eval.root=FOLDER with bbq in it")

    def files(self) -> dict[str, Path]:
        """Name the files that are read: their content is part of the run's key."""
        return {file.name: file for file in self._files()}

    def load(self) -> TextData:
        """Read all categories."""
        rows = [row for file in self._files() for values in json_lines(file, NEEDED) for row in _read(values, file)]
        return text_data(self, self.info(), [], [], rows)

    def _files(self) -> list[Path]:
        files = sorted(self.root.glob("*.jsonl")) if self.root is not None and self.root.is_dir() else []
        return [
            file for file in files if "_x_" not in file.name
        ]  # about two groups at once, and the file does not say which one is meant


def _read(values: dict[str, Any], file: Path) -> list[TextRow]:
    """Return the rows from a line; raise UserError if it is not in BBQ's format."""
    try:
        return _rows(values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}, example_id {values.get('example_id')}: answer_info, additional_metadata.stereotyped_groups or "
            f"label is not in BBQ's format ({type(error).__name__}: {error}).\nTry: the authors' data/*.jsonl"
        ) from error


def _rows(values: dict[str, Any]) -> list[TextRow]:
    """Turn a line into a row, or nothing if it does not mark which answer is the stereotyped group's."""
    groups = {_mark(group) for group in values["additional_metadata"]["stereotyped_groups"]}
    marks = [{_mark(mark) for mark in values["answer_info"][f"ans{number}"]} for number in range(3)]
    target = [number for number, mark in enumerate(marks) if mark & groups]
    unknown = [number for number, mark in enumerate(marks) if "unknown" in mark]
    if len(target) != 1 or len(unknown) != 1:
        return []
    other = 3 - target[0] - unknown[0]
    negative = values["question_polarity"] == "neg"
    options = tuple(str(values[f"ans{number}"]) for number in range(3))
    if not all(option.strip() for option in options):
        return []
    return [
        TextRow(
            prompt=f"{values['context']}\n\n{values['question']}",
            options=options,
            label=int(values["label"]),
            corrected=int(values["label"]),
            cluster=f"{values['category']}/{values['question_index']}",  # one of the authors' templates
            facts={
                "stereotyped": target[0] if negative else other,  # a non-negative question's bias favours the others
                "unknown": unknown[0],
                "ambiguous": values["context_condition"] == "ambig",
            },
        )
    ]


def _mark(text: str) -> str:
    """Return a group's name as in the authors' analysis_scripts/BBQ_results_metadata.R."""
    word = str(text).lower().removeprefix("m-").removeprefix("f-")
    return "trans" if word.startswith("trans") else SAME.get(word, word)
