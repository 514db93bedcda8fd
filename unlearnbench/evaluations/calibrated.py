"""Calibrated: is the loss of a forget row still lower than it is for models that never saw it?

Watson, Guo, Cormode, Sablayrolles: On the Importance of Difficulty Calibration in Membership Inference Attacks, ICLR
2022, arXiv:2111.08440. A row's own difficulty is taken off its score:

    score(x) = s_t(x) - mean_k s_k(x)

with s_t of the attacked model and s_k of the references. `signal=logit` is s = log p - log(1 - p), p the label's
probability, which is nearly normal (Carlini et al., arXiv:2112.03570); `signal=loss` is s = log p, as in the paper and
in open-unlearning's reference attack (src/evals/metrics/mia/reference.py), with one reference and the other sign.

Members are the forget rows, non-members the held-out rows of the same classes. The references are the retrained models,
so that nothing is trained; each of them is attacked with the others, and the unlearned model with the same sets
(docs/decisions/0040). The paper's references are trained on data that nothing was forgotten of.

Null: auc .5 where forget and held-out rows are alike, and with two references the target is .5 exactly, since the two
attacks on each other mirror. A gap of 0 in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, check_held_out
from unlearnbench.evidence import Floats, Scores
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.classification import losses
from unlearnbench.metrics.confidence import confidence
from unlearnbench.metrics.referenced import difference
from unlearnbench.metrics.told_apart import leave_one_out
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Tell forget rows from held-out rows by the loss, less that of retrained models."""

    signal: Literal["logit", "loss"]
    references: ClassVar[int] = 2
    headline: ClassVar[tuple[Column, ...]] = (
        Column("calibrated_auc", "forget"), Column("gap_calibrated_auc", "forget"),
    )  # fmt: skip

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return none: the stored scores are enough."""
        check_held_out("calibrated", world)
        return {}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return how well the score tells forget rows from held-out rows, for each role.

        `calibrated_auc`, and `calibrated_tpr_fpr_01` and `calibrated_tpr_fpr_001` where there are 100 and
        1,000 held-out rows: in [0, 1], and higher says that more is remembered. Perfect is the retrained models' value:
        `gap_...` of 0, in [-1, 1]. `floor_...`, from reference.count=3, is the mean size of a retrained model's gap.
        """
        if not found.retrained:
            return ()
        original, unlearned = found.scores["original"], found.scores["unlearned"]
        signal = confidence if self.signal == "logit" else _negative_loss
        return leave_one_out("calibrated", difference, signal, original, found.retrained, unlearned, found.whole_class)


def _negative_loss(scores: Scores) -> Floats:
    return -losses(scores)
