"""Membership scores from the tokens of an answer: higher is more likely a member. Text only."""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Floats, Scores

SMALLEST_DEVIATION = 1e-3
"""open-unlearning's: it holds the variance of Min-K%++ at 1e-6 or above."""


def own_tokens(scores: Scores, name: str) -> Floats:
    """Return an extra of an answer's tokens, (n, t) float64, NaN from the end of its turn on."""
    values = scores.extras[name].astype(np.float64)
    own = (~np.isnan(values)).sum(axis=1) - scores.extras["answer_end_tokens"].astype(np.int64)
    kept: Floats = np.where(np.arange(values.shape[1]) < own[:, None], values, np.nan)
    return kept


def lowest(values: Floats, share: float) -> Floats:
    """Return the mean of the lowest `share` of each row's values, at least one of them, (n,); rows end with NaN."""
    count = (~np.isnan(values)).sum(axis=1)
    few = np.maximum(np.floor(count * share).astype(np.int64), 1)
    chosen = np.arange(values.shape[1]) < few[:, None]
    mean: Floats = np.where(chosen, np.sort(values, axis=1), 0.0).sum(axis=1) / few  # NaN is sorted to the end
    return mean


def min_k(scores: Scores, share: float) -> Floats:
    """Return the mean log-probability of an answer's least likely tokens, (n,)."""
    return lowest(own_tokens(scores, "answer_log_probability"), share)


def standardised(log_probability: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return how far tokens' log-probabilities are above their mean over the vocabulary, in standard deviations."""
    values: Floats = (log_probability - mean) / np.maximum(deviation, SMALLEST_DEVIATION)
    return values


def min_k_plus_plus(scores: Scores, share: float) -> Floats:
    """Return the mean of the lowest standardised log-probabilities of an answer's tokens, (n,)."""
    names = ("answer_log_probability", "answer_vocabulary_mean", "answer_vocabulary_deviation")
    return lowest(standardised(*(own_tokens(scores, name) for name in names)), share)


def by_zlib(scores: Scores) -> Floats:
    """Return an answer's mean log-probability per token over its length in bytes when compressed, (n,)."""
    mean = np.nanmean(own_tokens(scores, "answer_log_probability"), axis=1)
    ratio: Floats = mean / scores.extras["answer_zlib_bytes"].astype(np.float64)
    return ratio


def privleak(auc: float, retrained: float) -> float | None:
    """Return by how many percent an area is above the retrained model's; None where that is 0.

    The areas are MUSE's: the chance that a held-out row looks more like a member than a forget row.
    """
    return (auc - retrained) / retrained * 100 if retrained else None
