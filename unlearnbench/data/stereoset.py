"""StereoSet: a context with three sentences, one of them stereotyped; evaluation only.

Nadeem, Bethke, Reddy: StereoSet: Measuring stereotypical bias in pretrained language models, ACL 2021,
arXiv:2004.09456; CC BY-SA 4.0. In an intersentence item, the context comes before each sentence and is also an option
by itself: the whole text's log-likelihood minus the context's is that of the sentence after the context.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from unlearnbench.contracts import DataInfo
from unlearnbench.data.files import AS_PUBLISHED, TABLE, parsed
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data
from unlearnbench.errors import UserError
from unlearnbench.files.intake import text_of

LABELS = ("stereotype", "anti-stereotype", "unrelated")
CLASSES = (*LABELS, "context")


@dataclass(frozen=True, kw_only=True)
class StereoSet(TextSettings):
    """StereoSet, from a local folder with its dev.json (evaluation only: eval.extra=[stereoset])."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})

    def info(self) -> DataInfo:
        """Describe the data set without reading it."""
        return DataInfo(kind="text", classes=CLASSES, train=0, test=self.limit_test or 0, shape=())

    def check(self) -> None:
        """Raise UserError if the file is missing."""
        if self.root is None or not (self.root / "dev.json").is_file():
            found = "eval.root is not set" if self.root is None else f"{self.root} has no dev.json"
            raise UserError(f"stereoset: {found}.\nTry: eval.root=FOLDER with stereoset/dev.json in it")

    def files(self) -> dict[str, Path]:
        """Return the file that `load` reads; its content is part of the run's key."""
        return {} if self.root is None else {"dev.json": self.root / "dev.json"}

    def load(self) -> TextData:
        """Read both kinds of items; raise UserError if the file is not in StereoSet's format."""
        file = (self.root or Path()) / "dev.json"
        try:
            data = parsed(text_of(file, TABLE, AS_PUBLISHED), f"{file} is not StereoSet's")["data"]
            rows = [_row(item, between) for between in (False, True) for item in data[_name(between)]]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{file} is not StereoSet's: {type(error).__name__}: {error}\n{AS_PUBLISHED}") from error
        return text_data(self, self.info(), [], [], rows, chat=False)


def _name(between: bool) -> str:
    return "intersentence" if between else "intrasentence"


def _row(item: dict[str, Any], between: bool) -> TextRow:
    """Turn an item into a row without a prompt: three sentences and the context as options.

    A context without final punctuation gets a full stop, as in the authors' eval_generative_models.py.
    """
    context = str(item["context"])
    context = context if context[-1:] in (".", "!", "?") else f"{context}."
    before = f"{context} " if between else ""
    by_label = {sentence["gold_label"]: before + str(sentence["sentence"]) for sentence in item["sentences"]}
    return TextRow(
        prompt="a sentence",
        options=(*(by_label[name] for name in LABELS), context if between else None),
        label=0,
        corrected=0,
        cluster=str(item["target"]),
        facts={"target": str(item["target"]), "stereoset_type": str(item["bias_type"])},
    )
