"""Min-k: are the least likely tokens of a forgotten answer still likelier than those of held-out answers?

Min-K%: Shi et al.: Detecting Pretraining Data from Large Language Models, ICLR 2024, arXiv:2310.16789.
Min-K%++: Zhang et al.: Min-K%++: Improved Baseline for Pre-Training Data Detection from Large Language Models, ICLR
2025, arXiv:2404.02936. For the tokens t of an answer, behind all tokens before them,

    min_k(x) = mean of the lowest `share` of log p(t)
    min_k_plus_plus(x) = mean of the lowest `share` of (log p(t) - mu) / sigma

where mu and sigma are mean and standard deviation of the log-probability over the vocabulary, by the model's own
probabilities. No other model is needed.

Differences from the authors' code (github.com/zjysteven/mink-plus-plus, run.py): the tokens are those of the answer
that is trained on, without the end of its turn, as in open-unlearning; theirs are those of a bare text. At least one
token counts: theirs takes the mean of none where share * tokens < 1, which is not a number. sigma is held at .001 or
above, as in open-unlearning (variance 1e-6); theirs divides by 0 where a model is certain.

Null: auc .5 where forget and held-out rows are alike; a gap of 0 in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field

from unlearnbench.contracts import Kind
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, check_held_out
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.tokens import min_k, min_k_plus_plus
from unlearnbench.metrics.told_apart import alone
from unlearnbench.stages.world import World

SIGNALS = {"min_k": min_k, "min_k_plus_plus": min_k_plus_plus}


@dataclass(frozen=True, kw_only=True)
class MinK:
    """Tell forget rows from held-out rows by the least likely tokens of their answers."""

    share: Annotated[float, Field(gt=0, le=1)]
    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    headline: ClassVar[tuple[Column, ...]] = (
        Column("min_k_auc", "forget"), Column("gap_min_k_auc", "forget"), Column("min_k_plus_plus_auc", "forget"),
        Column("gap_min_k_plus_plus_auc", "forget"),
    )  # fmt: skip
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (
        Column("min_k_auc", "forget"), Column("min_k_plus_plus_auc", "forget"),
    )  # fmt: skip

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the stored scores are enough."""
        check_held_out("min_k", world)
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how well both scores tell forget rows from held-out rows, for each role.

        `min_k_auc` and `min_k_plus_plus_auc`, and `..._tpr_fpr_01` and `..._tpr_fpr_001` where there are
        100 and 1,000 held-out rows: in [0, 1], and higher says that more is remembered. Perfect is the retrained
        model's value: `gap_...` of 0, in [-1, 1]. `floor_...` is the mean difference of two retrained models.
        """
        original, unlearned = found.scores["original"], found.scores["unlearned"]
        for name, signal in SIGNALS.items():
            score = partial(signal, share=self.share)
            yield from alone(name, score, original, found.retrained, unlearned, found.whole_class)
