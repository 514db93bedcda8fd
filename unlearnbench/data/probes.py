"""Probes: questions that are asked of a model beside the rows it is trained on, and the answers it should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from unlearnbench.data.text import TextData


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Beginnings that a model continues in its own words, each with the text that it is compared with.

    With `chat`, a prompt is a user's turn and the answer begins with `opening`; otherwise it is a bare text.
    """

    prompts: tuple[str, ...]
    references: tuple[str, ...]
    chat: bool
    opening: str = ""


@dataclass(frozen=True, eq=False)
class ProbedData(TextData):
    """A text data set that comes with probes, and with `texts`, sets of rows that are only scored; each by name."""

    probes: Mapping[str, Probe] = field(default_factory=dict)
    texts: Mapping[str, TextData] = field(default_factory=dict)
