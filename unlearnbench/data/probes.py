"""Probes: questions that are asked of a model beside the rows it is trained on, and the answers it should know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from unlearnbench.data.text import TextData


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Beginnings that a model continues in its own words, each with the text that it is compared with.

    With `chat`, a prompt is a user's turn and the answer begins with its one of `openings`, where there are some;
    otherwise it is a bare text. `subjects` says whom each prompt is about, where they differ.
    """

    prompts: tuple[str, ...]
    references: tuple[str, ...]
    chat: bool
    openings: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    def about(self, subjects: Collection[str]) -> Probe:
        """Return the prompts about these subjects alone."""
        return self._at(place for place, subject in enumerate(self.subjects) if subject in subjects)

    def first(self, count: int | None) -> Probe:
        """Return the first prompts; all of them for None."""
        return self if count is None else self._at(range(min(count, len(self.prompts))))

    def _at(self, places: Iterable[int]) -> Probe:
        chosen = list(places)

        def of(texts: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(texts[place] for place in chosen) if texts else ()

        return Probe(
            prompts=of(self.prompts), references=of(self.references), chat=self.chat,
            openings=of(self.openings), subjects=of(self.subjects),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ProbedData(TextData):
    """A text data set that comes with probes, and with `texts`, sets of rows that are only scored; each by name."""

    probes: Mapping[str, Probe] = field(default_factory=dict)
    texts: Mapping[str, TextData] = field(default_factory=dict)
