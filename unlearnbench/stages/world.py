"""Worlds: the splits and the seed that models are trained with. A world is a value and costs nothing to make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unlearnbench.contracts import Index
from unlearnbench.data.sampling import units
from unlearnbench.forget.splits import Splits
from unlearnbench.stages.bench import Bench

_UNSEEN = {"validation": "validation rows", "test": "test rows", "already": "rows that were forgotten before"}


@dataclass(frozen=True, eq=False)
class World:
    """What is retained and what is to be forgotten, and the seeds of what is trained and unlearned there."""

    bench: Bench
    splits: Splits
    seed: int
    unlearn_seed: int
    eval_seed: int

    @property
    def all(self) -> Index:
        """The positions that the original is trained on."""
        return self.splits.trained

    def seen_by_checkpoint(self) -> dict[str, Any]:
        """Return which rows the user's own original is taken to have been trained on, in numbers and as text."""
        splits = self.splits
        already = 0 if splits.already is None else len(splits.already)
        unseen = {"validation": len(splits.validation), "test": len(splits.test), "already": already}
        named = ", ".join(f"{count} {_UNSEEN[name]}" for name, count in unseen.items() if count)
        text = (
            f"model.checkpoint is taken to have been trained on all {len(self.all)} rows of retain and forget, and on "
            f"none of the others ({named}); where that is not so, what is said of held-out rows is wrong"
        )
        return {"seen": len(self.all), "unseen": unseen, "text": text}

    def scored(self) -> Iterator[tuple[str, Index]]:
        """Yield the splits that take a forward pass, each with at most the bench's limit of rows, in whole units."""
        bench = self.bench
        for split, index in self.splits.scored():
            few = bench.limit is not None and bench.limit < len(index)
            yield split, units(index, bench.data.unit, bench.limit or 0, "scored", split) if few else index

    def parts(self) -> dict[str, Index]:
        """Return the parts of the test set, by name: their scores are cut from those of test."""
        found = {"test_retain": self.splits.test_retain, "test_forget": self.splits.test_forget}
        return {name: part for name, part in found.items() if part is not None}
