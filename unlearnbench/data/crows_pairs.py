"""CrowS-Pairs: pairs of sentences, one more stereotyped than the other; for evaluation only.

Nangia, Vania, Bhalerao, Bowman: CrowS-Pairs: A Challenge Dataset for Measuring Social Biases in Masked Language
Models, EMNLP 2020, arXiv:2010.00133; CC BY-SA 4.0. We do not correct its known flaws (Blodgett et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from unlearnbench.contracts import DataInfo
from unlearnbench.data.files import check_file, read_table, table_files
from unlearnbench.data.text import TextData, TextRow, TextSettings, text_data

ROWS = 1508
COLUMNS = ("sent_more", "sent_less", "bias_type")
REMEDY = "eval.root=FOLDER, with the table in FOLDER/crows_pairs"


@dataclass(frozen=True, kw_only=True)
class CrowsPairs(TextSettings):
    """1,508 pairs of a more and a less stereotyped sentence (evaluation only: eval.extra=[crows_pairs])."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    root: Path | None = field(metadata={"key": False})
    hub: str
    revision: str | None

    def info(self) -> DataInfo:
        """Describe the data set without reading it."""
        test = min(ROWS, self.limit_test or ROWS)
        return DataInfo(kind="text", classes=("more stereotyped", "less stereotyped"), train=0, test=test, shape=())

    def check(self) -> None:
        """Raise UserError if the table is not available."""
        check_file(self.root, self.hub, "crows_pairs", REMEDY)

    def files(self) -> dict[str, Path]:
        """Return the table that `load` reads; its content is part of the run's key."""
        return table_files(self.root, self.hub, self.revision, REMEDY)

    def load(self) -> TextData:
        """Read the table; each pair becomes a row without a prompt, with the two sentences as options."""
        table = read_table(self.root, self.hub, self.revision, COLUMNS, REMEDY)
        rows = [
            TextRow(
                prompt="a sentence",
                options=tuple(sentence if isinstance(sentence, str) else "" for sentence in (more, less)),
                label=0,
                corrected=0,
                facts={"bias_type": str(kind)},
            )
            for more, less, kind in zip(table["sent_more"], table["sent_less"], table["bias_type"], strict=True)
        ]
        return text_data(self, self.info(), [], [], rows, chat=False)
