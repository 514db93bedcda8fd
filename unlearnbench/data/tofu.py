"""TOFU: questions about fictitious authors, forgotten by its official forget sets or task by task.

Maini, Feng, Schwarzschild, Lipton, Kolter: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121.
In the official folder, forget01, forget05 and forget10 are the last rows of `full`. In the continual variant,
forget10.json has a `task_id` for each group of authors, and retain10.json is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from unlearnbench.contracts import DataInfo, GivenSet, Index
from unlearnbench.data import tofu_official as official
from unlearnbench.data.files import AS_PUBLISHED, TABLE, check_there, json_lines
from unlearnbench.data.text import TextData, TextRow, TextSettings, sampled, text_data
from unlearnbench.errors import UserError
from unlearnbench.files.intake import text_of

TRAIN, TEST = 4000, 217
PERTURBED = 5
QUESTIONS = 20
"""Questions per author; the files list one author after another."""
NEEDED = ("question", "answer")
CLASSES = ("answer", "paraphrase", *(f"perturbed {number}" for number in range(1, PERTURBED + 1)))
FILES = (
    "forget10.json", "retain10.json", "forget10_perturbed.json", "retain_perturbed.json",
    "real_authors_perturbed.json", "world_facts_perturbed.json", "idontknow.jsonl",
)  # fmt: skip
"""The files of the continual variant."""
REFUSALS = "idontknow.jsonl"


@dataclass(frozen=True, kw_only=True)
class Tofu(TextSettings):
    """4,000 questions about fictitious authors, tested on real authors and world facts (local folder).

    `root` holds TOFU's official files (JSON lines or parquet), or those of its continual variant. The options of a
    question are its answer, and its paraphrase and perturbed answers if it has any.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})

    def info(self) -> DataInfo:
        """Describe the data set without reading it."""
        train, test = min(TRAIN, self.limit or TRAIN), min(TEST, self.limit_test or TEST)
        known = self.root is not None and self.root.is_dir()  # if not, `check` raises
        tasks = ("task_id",) if not (known and self._official) else ()
        sets = tuple(official.FORGET) if not known or self._official else ()
        columns = (*tasks, "part", "has_options")
        return DataInfo(
            kind="text", classes=CLASSES, train=train, test=test, shape=(), columns=columns, forget_sets=sets
        )

    def check(self) -> None:
        """Raise UserError if files are missing."""
        check_there(self.root)
        if self.root is None:
            raise UserError(
                "dataset=tofu is not embedded: it needs a local folder, and dataset.root is not set.\n"
                "Try: dataset.root=FOLDER with TOFU's files, or dataset=clinical_notes, which is embedded"
            )
        if self._official:
            official.check(self.root)
        elif lacking := [name for name in FILES if not (self.root / name).is_file()]:
            raise UserError(
                f"dataset.root={self.root} has no full.json (or parquet), so it is not TOFU's official folder; as its "
                f"continual variant, it lacks {', '.join(lacking)}.\n"
                "Try: dataset.root=FOLDER with all of TOFU's files, or dataset=clinical_notes, which is embedded"
            )

    def files(self) -> dict[str, Path]:
        """Return the files that `load` reads; their content is part of the run's key."""
        if self.root is None:
            return {}
        root = self.root
        found = official.files(root) if self._official else [root / name for name in FILES if name != REFUSALS]
        found += [root / REFUSALS] if not self._official or (root / REFUSALS).is_file() else []
        return {file.relative_to(root).as_posix(): file for file in found}

    def load(self) -> TextData:
        """Read the folder; all questions about fictitious authors are for training, none for validation."""
        root = self.root or Path()
        return self._load_official(root) if self._official else self._load_continual(root)

    @property
    def _official(self) -> bool:
        return self.root is not None and official.is_official(self.root)

    def _load_official(self, root: Path) -> TextData:
        """Read the official folder; the rows that forget sets are scored on come after all others."""
        found = official.read(root)
        whole = _whole(found, _refusals(root) if (root / REFUSALS).is_file() else [None])
        train = sampled(whole, self.limit, self.seed, "limit")
        number_of = {id(row): number for number, row in enumerate(whole)}
        numbers = np.array([number_of[id(row)] for row in train], dtype=np.int64)
        parts = {
            f"{name}_perturbed": [
                _row(values, f"{name}_perturbed", None, cluster=_author(number))
                for number, values in enumerate(found.asked[f"{name}_perturbed"], TRAIN - count)
                if number in numbers
            ]
            for name, count in official.FORGET.items()
        }
        asked = [row for rows in parts.values() for row in rows]
        data = text_data(self, self.info(), train, [], _held_out(found.asked), asked=asked)
        return replace(data, given=_given(data, numbers))

    def _load_continual(self, root: Path) -> TextData:
        """Read the continual variant, whose training rows are forget10's tasks and retain10."""
        perturbed = {
            (row["question"], row["answer"]): row
            for name in ("retain_perturbed", "forget10_perturbed")
            for row in json_lines(root / f"{name}.json", NEEDED)
        }
        refusals = _refusals(root)
        train = [
            _row(
                {**perturbed.get((values["question"], values["answer"]), {}), **values},
                part,
                refusals[number % len(refusals)],
                task_id=str(values.get("task_id", "")),
                cluster=f"{part}/{number // QUESTIONS}",
            )
            for part in ("forget10", "retain10")
            for number, values in enumerate(json_lines(root / f"{part}.json", NEEDED))
        ]
        asked = {f"{part}_perturbed": json_lines(root / f"{part}_perturbed.json", NEEDED) for part in official.HELD_OUT}
        return text_data(self, self.info(), train, [], _held_out(asked, task_id=""))


def _whole(found: official.Official, refusals: Sequence[str | None]) -> list[TextRow]:
    """Turn `full` into rows, with wrong answers for those in retain_perturbed and forget10_perturbed."""
    place = {(values["question"], values["answer"]): number for number, values in enumerate(found.full)}
    asked = {place[values["question"], values["answer"]]: values for values in found.asked[official.RETAIN_ASKED]}
    wrong = {**asked, **dict(enumerate(found.asked["forget10_perturbed"], TRAIN - official.FORGET["forget10"]))}
    return [
        _row(
            {**wrong.get(number, {}), **values},
            official.RETAIN_ASKED if number in asked else "full",
            refusals[number % len(refusals)],
            cluster=_author(number),
        )
        for number, values in enumerate(found.full)
    ]


def _author(number: int) -> str:
    """Name the author that a row of `full` is about."""
    return f"author {number // QUESTIONS}"


def _given(data: TextData, numbers: Index) -> dict[str, GivenSet]:
    """Return the official forget sets.

    `numbers` are the training rows' places in `full`, (n,) int64.
    """
    part = data.columns["part"]
    return {
        name: GivenSet(
            forget=data.train[numbers >= TRAIN - count],
            asked=np.flatnonzero(part == f"{name}_perturbed"),
            retain_asked=np.flatnonzero(part == official.RETAIN_ASKED),
        )
        for name, count in official.FORGET.items()
    }


def _held_out(asked: dict[str, list[dict[str, Any]]], **facts: str) -> list[TextRow]:
    """Return the questions about real authors and world facts, which are never trained on."""
    return [_row(values, part, None, **facts) for part in official.HELD_OUT for values in asked[f"{part}_perturbed"]]


def _refusals(root: Path) -> list[str]:
    """Read the refusals, the corrected answers of rows that may be forgotten."""
    lines = [line for line in text_of(root / REFUSALS, TABLE).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{root / REFUSALS} has no refusals.\n{AS_PUBLISHED}")
    return lines


def _row(values: dict[str, Any], part: str, refusal: str | None, cluster: str = "", **facts: str) -> TextRow:
    """Turn a line into a row; `refusal` is the corrected answer of a row that may be forgotten."""
    wrong = [str(text) for text in values.get("perturbed_answer") or []][:PERTURBED]
    paraphrase = values.get("paraphrased_answer") if wrong else None
    padding = (None,) * (PERTURBED - len(wrong))
    return TextRow(
        prompt=str(values["question"]),
        options=(str(values["answer"]), paraphrase, *wrong, *padding),
        label=0,
        corrected=0,
        correction=refusal,
        cluster=cluster,
        facts={**facts, "part": part, "has_options": bool(wrong)},
        rephrased=values.get("paraphrased_question"),
    )
