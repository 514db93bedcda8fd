"""MUSE: news or books to be forgotten word by word, with questions about what they say.

Shi et al.: MUSE: Machine Unlearning Six-Way Evaluation for Language Models, ICLR 2025, arXiv:2407.06460; CC BY 4.0.
A local copy of muse-bench/MUSE-News or MUSE-Books on the hub, as parquet or as the JSON files that the authors'
load_data.py writes. Models are trained on raw/forget, raw/retain1 and raw/retain2, and tested on raw/holdout. The
authors cut the joined texts every 2,048 tokens; here each text is cut by itself every `words` words, so that the rows
do not depend on a tokenizer and no row holds two texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unlearnbench.contracts import DataInfo, GivenSet
from unlearnbench.data.copies import check_parts, part_files, part_rows
from unlearnbench.data.probes import Probe, ProbedData
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data
from unlearnbench.errors import UserError

RETAINED = ("retain1", "retain2")
RAW = ("forget", *RETAINED, "holdout")
KNOWN = ("forget", "retain")
LEAKED = ("forget", "holdout")
PARTS = (
    *(f"raw/{name}" for name in RAW),
    "verbmem/forget",
    *(f"knowmem/{name}_qa{examples}" for name in KNOWN for examples in ("", "_icl")),
    *(f"privleak/{name}" for name in LEAKED),
)
REMEDY = (
    "Try: dataset.root=FOLDER, a local copy of muse-bench/MUSE-News (dataset=muse_news) or MUSE-Books "
    "(dataset=muse_books) with the folders raw, verbmem, knowmem and privleak"
)


@dataclass(frozen=True, kw_only=True)
class Muse(TextSettings):
    """MUSE's news articles or books as plain texts (local copy); eval=muse asks its questions about them."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})
    corpus: Literal["news", "books"]
    words: Annotated[int, Field(ge=8, le=10**6)]

    def info(self) -> DataInfo:
        """Describe the data set, which reads its texts; raise UserError if they cannot be read."""
        train = sum(len(self._raw[name]) for name in RAW[:-1])
        test = len(self._raw["holdout"])
        return DataInfo(
            kind="text",
            classes=("answer",),
            train=min(train, self.limit or train),
            test=min(test, self.limit_test or test),
            shape=(),
            columns=("part",),
            forget_sets=("forget",),
        )

    def check(self) -> None:
        """Raise UserError if files are missing or not MUSE's."""
        self.load()

    def files(self) -> dict[str, Path]:
        """Return the files that `load` reads; their content is part of the run's key."""
        root = self.root
        found = [file for name in PARTS for file in part_files(root, name)] if root is not None else []
        return {file.relative_to(root or file).as_posix(): file for file in found}

    def load(self) -> ProbedData:
        """Read the folder."""
        return self._data

    @cached_property
    def _raw(self) -> dict[str, list[TextRow]]:
        check_parts(self.root, PARTS, f"MUSE-{self.corpus.capitalize()}", REMEDY)
        return {name: self._pieces(f"raw/{name}") for name in RAW}

    @cached_property
    def _data(self) -> ProbedData:
        raw, settings = self._raw, replace(self, limit_validation=None)
        train = [row for name in RAW[:-1] for row in raw[name]]
        data = text_data(settings, self.info(), train, [], raw["holdout"], chat=False)
        texts = {name: self._scored(f"privleak/{name}") for name in LEAKED}
        forgotten = data.columns["part"][data.train] == "forget"
        forget, retain = data.train[forgotten], data.train[~forgotten]
        given = {"forget": GivenSet(forget=forget, asked=forget, retain_asked=retain)}
        own = {one.name: getattr(data, one.name) for one in fields(data)}
        return ProbedData(**{**own, "given": given}, probes=self._probes(), texts=texts)

    def _texts(self, name: str) -> list[str]:
        rows = part_rows(self.root or Path(), name, ("text",), REMEDY)
        found = [row["text"] for row in rows if row["text"].strip()]
        if not found:
            raise UserError(f"{self.root}: {name} has only empty texts.\n{REMEDY}")
        return found

    def _pieces(self, name: str) -> list[TextRow]:
        part = name.removeprefix("raw/")
        return [
            _row(piece, part, f"{part} {number}")
            for number, text in enumerate(self._texts(name))
            for piece in pieces(text, self.words)
        ]

    def _scored(self, name: str) -> TextData:
        """Return whole texts, which are cut only where the model's context ends."""
        rows = [_row(text, name, "") for text in self._texts(name)]
        settings = replace(self, limit_test=None)
        return text_data(settings, replace(self.info(), train=0, test=len(rows)), [], [], rows, chat=False)

    def _probes(self) -> dict[str, Probe]:
        root = self.root or Path()
        told = part_rows(root, "verbmem/forget", ("prompt", "gt"), REMEDY)
        probes = {"forget_verbmem": _probe([row["prompt"] for row in told], [row["gt"] for row in told])}
        for name in KNOWN:
            asked, shown = (
                [(row["question"], row["answer"]) for row in part_rows(root, part, ("question", "answer"), REMEDY)]
                for part in (f"knowmem/{name}_qa", f"knowmem/{name}_qa_icl")
            )
            before = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in shown)
            prompts = [f"{before}Question: {question}\nAnswer: " for question, _ in asked]
            probes[f"{name}_knowmem"] = _probe(prompts, [answer for _, answer in asked])
        return probes


def pieces(text: str, words: int) -> Iterator[str]:
    """Cut a text after every `words` words; the blanks between words stay as they are."""
    found = list(re.finditer(r"\S+", text))
    for start in range(0, len(found), words):
        yield text[found[start].start() : found[min(start + words, len(found)) - 1].end()]


def _row(text: str, part: str, cluster: str) -> TextRow:
    return TextRow(prompt="a text", options=(text,), label=0, corrected=0, cluster=cluster, facts={"part": part})


def _probe(prompts: Sequence[str], references: Sequence[str]) -> Probe:
    return Probe(prompts=tuple(prompts), references=tuple(references), chat=False)
