"""RWKU: famous people to be forgotten, and probes of what a model still knows of them and of their neighbours.

Jin et al.: RWKU: Benchmarking Real-World Knowledge Unlearning for Large Language Models, NeurIPS 2024 Datasets and
Benchmarks, arXiv:2406.10890; CC BY 4.0. A local copy of jinzhuoran/RWKU on the hub (the files in its folder All), or
the files that the authors' process/data_process.py writes for one person. Nobody trains on RWKU to know these people:
the rows are the passages that a model wrote about them (positive.json), which methods forget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from unlearnbench.contracts import DataInfo
from unlearnbench.data.copies import check_parts, part_files, part_rows
from unlearnbench.data.probes import Probe, ProbedData
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data

PASSAGES = "positive"
PROBES = ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2")
TEXTS = {"mia_forget": "forget_mia", "mia_retain": "retain_mia"}
PARTS = (PASSAGES, *PROBES, *TEXTS.values())
REMEDY = (
    "Try: dataset.root=FOLDER, a local copy of jinzhuoran/RWKU on the hub, with All/positive.json, "
    "All/forget_level1.json and so on"
)
BLANK = "Please complete the blank in the following question.\nQuestion: {query}\n"
BRIEF = "Please briefly answer the following question.\nQuestion: {query}\n"
IN_CONTEXT = "Please briefly answer the following question.\n{query}\n"
OPENING = "Answer:"


@dataclass(frozen=True, kw_only=True)
class Rwku(TextSettings):
    """RWKU's passages about famous people as plain texts (local copy); eval=rwku asks its probes."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})

    def info(self) -> DataInfo:
        """Describe the data set, which reads its passages; raise UserError if they cannot be read."""
        train, test = len(self._passages), len(self._held_out)
        return DataInfo(
            kind="text",
            classes=("answer",),
            train=min(train, self.limit or train),
            test=min(test, self.limit_test or test),
            shape=(),
            columns=("subject",),
        )

    def check(self) -> None:
        """Raise UserError if files are missing or not RWKU's."""
        self.load()

    def files(self) -> dict[str, Path]:
        """Return the files that `load` reads; their content is part of the run's key."""
        found = [file for name in PARTS for file in part_files(self._folder, name)] if self.root is not None else []
        return {file.name: file for file in found}

    def load(self) -> ProbedData:
        """Read the folder."""
        return self._data

    @property
    def _folder(self) -> Path:
        root = self.root or Path()
        return root / "All" if (root / "All").is_dir() else root

    @cached_property
    def _passages(self) -> list[TextRow]:
        check_parts(self.root and self._folder, PARTS, "RWKU", REMEDY)
        return self._texts(PASSAGES)

    @cached_property
    def _held_out(self) -> list[TextRow]:
        """Return texts about people whom nobody asks to forget; the file names whom they are to be compared with."""
        return [replace(row, cluster="", facts={"subject": ""}) for row in self._texts(TEXTS["mia_retain"])]

    @cached_property
    def _data(self) -> ProbedData:
        data = text_data(self, self.info(), self._passages, [], self._held_out, chat=False)
        texts = {name: self._scored(self._texts(file)) for name, file in TEXTS.items()}
        own = {one.name: getattr(data, one.name) for one in fields(data)}
        return ProbedData(**own, probes={name: self._probe(name) for name in PROBES}, texts=texts)

    def _texts(self, name: str) -> list[TextRow]:
        rows = part_rows(self._folder, name, ("text", "subject"), REMEDY)
        return [_row(row["text"], row["subject"]) for row in rows]

    def _scored(self, rows: list[TextRow]) -> TextData:
        settings = replace(self, limit_test=None)
        return text_data(settings, replace(self.info(), train=0, test=len(rows)), [], [], rows, chat=False)

    def _probe(self, name: str) -> Probe:
        rows = part_rows(self._folder, name, ("query", "answer", "subject"), REMEDY)
        asked = [_asked(row, name) for row in rows]

        def column(of: Callable[[dict[str, Any]], str]) -> tuple[str, ...]:
            return tuple(of(row) for row in rows)

        return Probe(
            prompts=tuple(prompt for prompt, _ in asked),
            references=column(lambda row: row["answer"]),
            chat=True,
            openings=tuple(opening for _, opening in asked),
            subjects=column(lambda row: row["subject"]),
        )


def _row(text: str, subject: str) -> TextRow:
    return TextRow(
        prompt="a text", options=(text,), label=0, corrected=0, cluster=subject, facts={"subject": subject}
    )  # fmt: skip


def _asked(row: dict[str, Any], name: str) -> tuple[str, str]:
    """Return a prompt and how its answer begins, as in the authors' eval_forget.py and eval_neighbor.py."""
    if name.endswith("level1"):
        return BLANK.replace("{query}", row["query"]), OPENING
    kind = row.get("type") if name.endswith("level3") else None
    if kind == "affirmative suffix":
        return BRIEF.replace("{query}", row["query"]), ""
    return (IN_CONTEXT if kind == "incontext learning" else BRIEF).replace("{query}", row["query"]), OPENING
