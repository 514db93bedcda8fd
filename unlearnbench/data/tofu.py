"""TOFU: questions about fictitious authors, to be forgotten task by task.

Maini, Feng, Schwarzschild, Lipton, Kolter: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121.
Its continual variant is read: forget10.json carries a `task_id` for each group of authors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from unlearnbench.data.files import AS_PUBLISHED, check_there, json_lines
from unlearnbench.data.text import TextData, TextRow, TextSettings, assemble
from unlearnbench.errors import UserError
from unlearnbench.problem import DataInfo

TRAIN, TEST = 4000, 217
PERTURBED = 5
QUESTIONS = 20
"""On each author; the files hold them one author after another."""
NEEDED = ("question", "answer")
CLASSES = ("answer", "paraphrase", *(f"perturbed {number}" for number in range(1, PERTURBED + 1)))
FILES = (
    "forget10.json", "retain10.json", "forget10_perturbed.json", "retain_perturbed.json",
    "real_authors_perturbed.json", "world_facts_perturbed.json", "idontknow.jsonl",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tofu(TextSettings):
    """4,000 questions about fictitious authors in tasks, tested on real authors and world facts (local folder).

    `root` holds TOFU's JSON files. Where a question has perturbed answers, they and its paraphrase are its options.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})

    def info(self) -> DataInfo:
        """Say what the data set holds, without reading it."""
        train, test = min(TRAIN, self.limit or TRAIN), min(TEST, self.limit_test or TEST)
        return DataInfo(
            kind="text", classes=CLASSES, train=train, test=test, shape=(), columns=("task_id", "part", "has_options")
        )

    def check(self) -> None:
        """Raise UserError where files are missing."""
        check_there(self.root)
        if self.root is None:
            raise UserError(
                "dataset=tofu is not embedded: it is read from a local folder, and dataset.root names none.\n"
                "Try: dataset.root=FOLDER with TOFU's JSON files, or dataset=clinical_notes, which is embedded"
            )
        lacking = [name for name in FILES if not (self.root / name).is_file()]
        if lacking:
            raise UserError(
                f"dataset.root={self.root} lacks TOFU's {', '.join(lacking)}.\n"
                "Try: dataset.root=FOLDER with TOFU's JSON files, or dataset=clinical_notes, which is embedded"
            )

    def load(self) -> TextData:
        """Read the folder: forget10's tasks and retain10 are trained on, nothing is held out for validation."""
        root = self.root or Path()
        perturbed = {
            (row["question"], row["answer"]): row
            for name in ("retain_perturbed.json", "forget10_perturbed.json")
            for row in json_lines(root / name, NEEDED)
        }
        refusals = [
            line for line in (root / "idontknow.jsonl").read_text(encoding="utf-8").splitlines() if line.strip()
        ]
        if not refusals:
            raise UserError(f"{root / 'idontknow.jsonl'} holds no refusal.\n{AS_PUBLISHED}")
        train = [
            _row(
                {**perturbed.get((values["question"], values["answer"]), {}), **values},
                part,
                refusals[number % len(refusals)],
                cluster=f"{part}/{number // QUESTIONS}",
            )
            for part in ("forget10", "retain10")
            for number, values in enumerate(json_lines(root / f"{part}.json", NEEDED))
        ]
        test = [
            _row(values, part, None)
            for part in ("real_authors", "world_facts")
            for values in json_lines(root / f"{part}_perturbed.json", NEEDED)
        ]
        return assemble(self, self.info(), train, [], test)


def _row(values: dict[str, Any], part: str, refusal: str | None, cluster: str = "") -> TextRow:
    """Turn a line into a row; a refusal is the corrected answer of what may be forgotten."""
    wrong = [str(text) for text in values.get("perturbed_answer", [])][:PERTURBED]
    paraphrase = values.get("paraphrased_answer") if wrong else None
    padding = (None,) * (PERTURBED - len(wrong))
    return TextRow(
        prompt=str(values["question"]),
        options=(str(values["answer"]), paraphrase, *wrong, *padding),
        label=0,
        corrected=0,
        correction=refusal,
        cluster=cluster,
        facts={"task_id": str(values.get("task_id", "")), "part": part, "has_options": bool(wrong)},
    )
