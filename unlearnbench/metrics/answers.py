"""Answers in words: agreement with the corrected answer, likelihood, and memorisation of their tokens."""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Integers, Scores
from unlearnbench.metrics import EVERYWHERE, OPTIONS, UNBOUNDED, Number, metric


def normalised(scores: Scores) -> Floats:
    """Return the log-likelihood of each option per token, (n, c) float64; -inf where a row has no such option."""
    tokens = scores.extras["option_tokens"].astype(np.float64)
    exists = tokens > 0
    per_token = np.full(tokens.shape, -np.inf)
    per_token[exists] = scores.logits.astype(np.float64)[exists] / tokens[exists]
    return per_token


def extraction_strength_of(hits: Integers) -> Floats:
    """Return 1 - the share of an answer to be given before the rest follows greedily, (n,); rows are padded with -1."""
    lengths = (hits >= 0).sum(axis=1)
    wrong = np.where(hits == 0, np.arange(1, hits.shape[1] + 1), 0)
    needed = wrong.max(axis=1, initial=0)  # everything up to the last wrong token
    strength: Floats = 1 - needed / np.maximum(lengths, 1)
    return strength


@metric(
    "accuracy_corrected",
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("corrected", "pair", OPTIONS),
    source="share of arg-max answers that are the corrected one",
)
def accuracy_corrected(evidence: Evidence, split: str) -> float:
    """Share of examples answered with the corrected answer.

    The corrected answer of a biased row is the unbiased judgement. In [0, 1], higher is less biased; perfect is the
    retrained model's value.
    """
    scores = evidence.subject[split]
    return float((scores.prediction == scores.extras["corrected"]).mean())


@metric(
    "accuracy_normalised",
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("option_tokens", OPTIONS),
    source="lm-evaluation-harness, acc_norm (per token)",
)
def accuracy_normalised(evidence: Evidence, split: str) -> float:
    """Accuracy where options are compared by log-likelihood per token.

    Long options are then not at a disadvantage. In [0, 1], higher is more correct; perfect is the retrained model's
    value.
    """
    scores = evidence.subject[split]
    return float((normalised(scores).argmax(axis=1) == scores.label).mean())


@metric(
    "answer_nll",
    splits=EVERYWHERE,
    unit="nats",
    low=0.0,
    high=UNBOUNDED,
    needs=("answer_log_probability",),
    source="mean over examples of the mean cross-entropy of an answer's tokens",
)
def answer_nll(evidence: Evidence, split: str) -> float:
    """Cross-entropy per token of the answer trained on, nats, mean over examples.

    At least 0, lower is more certain of the answer; perfect is the retrained model's value.
    """
    return float(
        -np.nanmean(evidence.subject[split].extras["answer_log_probability"].astype(np.float64), axis=1).mean()
    )


@metric(
    Number(
        "exact_memorisation",
        "Share of an answer's tokens that are the most likely ones under teacher forcing",
        source="Tirumala et al. 2022, arXiv:2205.10770",
    ),
    Number(
        "extraction_strength",
        "1 - the share of an answer that must be given before the rest follows greedily",
        source="Wang et al. 2025, arXiv:2406.13356; after Carlini et al. 2021, arXiv:2012.07805",
    ),
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("answer_hit", "answer_end_tokens"),
)
def memorised(evidence: Evidence, split: str) -> dict[str, float]:
    """Return exact memorisation and extraction strength, means over examples.

    In [0, 1], higher is more memorised; perfect is the retrained model's value. Extraction strength 1 says that the
    question alone gives the whole answer. The end of the turn, which every answer shares, does not count. Exact
    memorisation equals open-unlearning's. Where an answer's last token is wrong, its code gives an extraction strength
    of one over the answer's length; by the paper's definition, and here, it is 0.
    """
    hits = evidence.subject[split].answer_hits
    return {
        "exact_memorisation": float(((hits == 1).sum(axis=1) / (hits >= 0).sum(axis=1)).mean()),
        "extraction_strength": float(extraction_strength_of(hits).mean()),
    }
