"""The models of a board's runs, each once: what their stored scores say of the rows that all of them share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.across.cell import Models
from unlearnbench.evidence import Floats, Scores
from unlearnbench.metrics.confidence import confidence
from unlearnbench.report.collect import Runs
from unlearnbench.report.scores import read

if TYPE_CHECKING:
    import pandas

SPLITS = ("retain", "forget", "test")
ORIGINAL = "original"
RETRAINED = "retrained"

By = tuple[int, int]
"""A model's seeds: the run's, and the method's; of a retrained model its number instead."""
Said = tuple[dict[str, Floats], dict[str, float]]
"""A model's confidence in each row, and the share of rows that it gets right, by split."""


@dataclass(frozen=True, eq=False)
class Joined:
    """The models by kind (original, retrained, or a method's variant) and seeds; remarks on runs that are left out."""

    by_kind: Mapping[str, Mapping[By, Said]]
    remarks: tuple[str, ...] = ()

    @property
    def references(self) -> int:
        """How many retrained models there are."""
        return len(self.by_kind.get(RETRAINED, ()))

    def counts(self) -> dict[str, int]:
        """Return how many models of each kind there are, without the retrained ones."""
        return {kind: len(found) for kind, found in self.by_kind.items() if kind != RETRAINED}

    def varied(self, kind: str) -> tuple[int, int]:
        """Return how many seeds, and how many seeds of the method, a kind's models differ in."""
        first, second = zip(*self.by_kind[kind], strict=True)
        return len(set(first)), len(set(second))

    def models(self, kind: str) -> Models:
        """Return a kind's models in the order of their seeds."""
        found = [said for _, said in sorted(self.by_kind[kind].items(), key=lambda item: item[0])]
        return Models(
            {split: np.stack([values[split] for values, _ in found]) for split in SPLITS},
            {split: np.array([right[split] for _, right in found]) for split in SPLITS},
        )

    def retrained(self) -> Models:
        """Return the retrained models."""
        return self.models(RETRAINED)


@dataclass(eq=False)
class _Found:
    """The models of runs that have the same rows."""

    by_kind: dict[str, dict[By, Said]] = field(default_factory=lambda: {ORIGINAL: {}})
    runs: int = 0

    def add(self, kind: str, by: By, scores: Mapping[str, Scores]) -> None:
        """Take a model, unless it is there: runs share the original and the retrained models of a seed."""
        models = self.by_kind.setdefault(kind, {})
        if by not in models:
            means = {split: float(one.right[1].mean()) for split, one in scores.items()}
            models[by] = {split: confidence(one) for split, one in scores.items()}, means


def join(runs: Runs, table: pandas.DataFrame) -> Joined:
    """Join the runs with the same rows in retain, forget and test: the most that have; remark on the others."""
    found: dict[tuple[bytes, ...], _Found] = {}
    for run_id, variant in table[["run_id", "variant"]].itertuples(index=False):
        folder, facts = runs.folders[str(run_id)], runs.facts[str(run_id)]
        unlearned = _scores(folder, "unlearned")
        if unlearned is None:
            continue
        rows = tuple(unlearned[split].index.tobytes() for split in SPLITS)
        mine = found.setdefault(rows, _Found())
        mine.runs += 1
        seed = facts.seed if facts.unlearn_seed is None else facts.unlearn_seed
        mine.add(str(variant), (facts.seed, seed), unlearned)
        for role, number in _others(folder):
            scores = _scores(folder, role)
            if scores is not None and tuple(scores[split].index.tobytes() for split in SPLITS) == rows:
                mine.add(ORIGINAL if number is None else RETRAINED, (facts.seed, number or 0), scores)
    if not found:
        return Joined({}, ("no run has sound scores of retain, forget and test: nothing can be joined over seeds",))
    sizes = Counter({rows: one.runs for rows, one in found.items()})
    (rows, joined), *others = sizes.most_common()
    left_out = sum(count for _, count in others)
    remark = (
        f"{left_out} of {left_out + joined} runs have other rows in retain, forget or test, and are left out of the "
        "numbers over seeds."
    )
    by_kind = {kind: models for kind, models in found[rows].by_kind.items() if models}
    return Joined(by_kind, (remark,) if left_out else ())


def _others(folder: Path) -> list[tuple[str, int | None]]:
    """Return the roles of a run's original (without a number) and of its retrained models."""
    found: list[tuple[str, int | None]] = [(ORIGINAL, None)]
    for file in sorted((folder / "scores").glob(f"{RETRAINED}*_forget.npz")):
        if of := re.fullmatch(rf"{RETRAINED}(?:_(\d+))?", file.stem.removesuffix("_forget")):
            found.append((of[0], int(of[1] or 0)))
    return found


def _scores(folder: Path, role: str) -> dict[str, Scores] | None:
    """Return a role's scores by split; None if any is missing or damaged."""
    found = {split: scores for split in SPLITS if (scores := read(folder, role, split)) is not None}
    return found if len(found) == len(SPLITS) else None
