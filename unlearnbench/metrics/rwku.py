"""RWKU's numbers: what a model still writes about whom it should forget, and about their neighbours.

Jin et al.: RWKU, NeurIPS 2024 Datasets and Benchmarks, arXiv:2406.10890, section 3;
github.com/jinzhuoran/RWKU, LLaMA-Factory/src/llmtuner/eval. They are measured by eval=rwku, on splits of its own.
"""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Evidence
from unlearnbench.metrics import UNBOUNDED, metric
from unlearnbench.metrics.written import written

PAPER = "Jin et al. 2024, RWKU, arXiv:2406.10890"
PROBED = ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2")
MEMBERS = ("mia_forget", "mia_retain")


@metric("rwku_rouge_l", splits=PROBED, unit="rate", low=0.0, high=1.0, needs=("generated",), source=PAPER)
def rwku_rouge_l(evidence: Evidence, split: str) -> float | None:
    """ROUGE-L recall of what the model writes against the answer of a probe, without a stemmer.

    In [0, 1]. On forget lower knows less of whom it should forget; on neighbours higher is better. Perfect is the value
    of a model that never knew the person, which cannot be trained here.
    """
    from rouge_score.rouge_scorer import RougeScorer

    pairs = written(evidence.subject[split])
    if not pairs:
        return None
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return float(np.mean([scorer.score(reference, text)["rougeL"].recall for text, reference in pairs]))


@metric(
    "rwku_loss",
    splits=MEMBERS,
    unit="nats",
    low=0.0,
    high=UNBOUNDED,
    needs=("answer_log_probability",),
    source=PAPER,
)
def rwku_loss(evidence: Evidence, split: str) -> float:
    """Loss per token on texts about the people to forget, or about others, mean over texts.

    At least 0. It should rise on mia_forget and stay on mia_retain. Perfect is the value of a model that never knew the
    person. The authors print it as a log-likelihood.
    """
    tokens = evidence.subject[split].extras["answer_log_probability"].astype(np.float64)
    return float(-np.nanmean(tokens, axis=1).mean())
