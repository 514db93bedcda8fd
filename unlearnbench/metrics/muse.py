"""MUSE's numbers: how much of a text is repeated or known, and what membership gives away.

Shi et al.: MUSE: Machine Unlearning Six-Way Evaluation for Language Models, ICLR 2025, arXiv:2407.06460, section 3;
github.com/swj0419/muse_bench, metrics/. They are measured by eval=muse, on splits of its own.
"""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import BySplit, Evidence, Floats, Scores
from unlearnbench.metrics import UNBOUNDED, metric
from unlearnbench.metrics.attack import area_under_curve
from unlearnbench.metrics.tokens import lowest, privleak
from unlearnbench.metrics.written import written

PAPER = "Shi et al. 2025, MUSE, arXiv:2407.06460"
WRITTEN = ("forget_verbmem", "forget_knowmem", "retain_knowmem")
FORGET, HELD_OUT = "forget_privleak", "holdout_privleak"
SHARE = 0.4
"""Min-K 40 %: the share of a text's tokens that counts, its least likely ones."""
TOKENS = ("answer_log_probability",)


def rouge_l_f1(pairs: list[tuple[str, str]]) -> float:
    """Return the mean ROUGE-L F1 of texts against their references, without a stemmer as in MUSE's code."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return float(np.mean([scorer.score(reference, text)["rougeL"].fmeasure for text, reference in pairs]))


def least_likely(scores: Scores, share: float) -> Floats:
    """Return the mean log-probability of each text's least likely tokens, (n,) float64; at least one token counts."""
    return lowest(scores.extras["answer_log_probability"].astype(np.float64), share)


def leak(subject: BySplit) -> float:
    """Return the chance that a held-out text looks more like a member than a forget text, ties counting half."""
    return area_under_curve(least_likely(subject[HELD_OUT], SHARE), least_likely(subject[FORGET], SHARE))


@metric("muse_rouge_l", splits=WRITTEN, unit="rate", low=0.0, high=1.0, needs=("generated",), source=PAPER)
def muse_rouge_l(evidence: Evidence, split: str) -> float | None:
    """ROUGE-L F1 of what the model writes against what MUSE's forget or retain texts say.

    That is the text's continuation (verbmem) or an answer (knowmem). In [0, 1]. Higher is closer to the reference;
    perfect is the retrained model's value.
    """
    pairs = written(evidence.subject[split])
    return rouge_l_f1(pairs) if pairs else None


@metric("muse_auc", splits=(FORGET,), unit="rate", low=0.0, high=1.0, needs=TOKENS, source=PAPER)
def muse_auc(evidence: Evidence, split: str) -> float:
    """Chance that a held-out text has a higher Min-40% log-probability than a forget text.

    In [0, 1]. 0 says that every forget text still looks like a member; perfect is the retrained model's value.
    """
    return leak(evidence.subject)


@metric(
    "muse_privleak",
    splits=(FORGET,),
    unit="score",
    low=-100.0,
    high=UNBOUNDED,
    ideal=0.0,
    relative=True,
    needs=TOKENS,
    source=PAPER,
)
def muse_privleak(evidence: Evidence, split: str) -> float | None:
    """By how many percent muse_auc is above the retrained models' mean.

    At least -100. 0 is perfect; below it forget texts still look like members, above it they look less like members
    than texts that were never seen. No value where the retrained models' is 0.
    """
    return privleak(leak(evidence.subject), float(np.mean([leak(one) for one in evidence.references])))
