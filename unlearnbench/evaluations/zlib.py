"""Zlib: is a forgotten answer still likelier than its own repetitiveness explains?

Carlini et al.: Extracting Training Data from Large Language Models, USENIX Security 2021, arXiv:2012.07805.

    score(x) = (mean of log p(t) over the answer's tokens t) / (bytes of the answer's text, compressed by zlib)

A text of few different words is likely under any model; it also compresses well, and the quotient takes that off.
No other model is needed.

Differences: the tokens and the text are those of the answer that is trained on, without the end of its turn;
open-unlearning (src/evals/metrics/mia/zlib.py) counts the end in the loss but not in the text. Compression has a
constant cost of about 8 bytes, so for answers of a few words the quotient says little beyond the loss.

Null: auc .5 where forget and held-out rows are alike; a gap of 0 in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from unlearnbench.contracts import Kind
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, check_held_out
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.tokens import by_zlib
from unlearnbench.metrics.told_apart import alone
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Zlib:
    """Tell forget rows from held-out rows by the answer's likelihood over its compressed length."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    headline: ClassVar[tuple[Column, ...]] = (Column("zlib_auc", "forget"), Column("gap_zlib_auc", "forget"))
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (Column("zlib_auc", "forget"),)

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the stored scores are enough."""
        check_held_out("zlib", world)
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how well the score tells forget rows from held-out rows, for each role.

        `zlib_auc`, and `zlib_tpr_fpr_01` and `zlib_tpr_fpr_001` where there are 100 and 1,000 held-out
        rows: in [0, 1], and higher says that more is remembered. Perfect is the retrained model's value: `gap_...` of
        0, in [-1, 1]. `floor_...` is the mean difference of two retrained models.
        """
        original, unlearned = found.scores["original"], found.scores["unlearned"]
        return alone("zlib", by_zlib, original, found.retrained, unlearned, found.whole_class)
