"""Confidence on a scale without ends: how much likelier the label is than everything else, as log odds.

Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022, arXiv:2112.03570, call it the
logit-scaled confidence, phi = log p_y - log(1 - p_y). Georgiev et al., arXiv:2410.23232, call it the margin,
z_y - logsumexp of the other logits: the same number. Over models of different seeds it is roughly Gaussian.
"""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import OPTIONS, Floats, Scores

LARGEST = 100.0
"""Where confidences are cut, as in Easy Data Unlearning Bench: p of 1 or 0 has none that is finite."""


def confidence(scores: Scores) -> Floats:
    """Return log p_y - log(1 - p_y) of each example's label, (n,) float64 in [-100, 100].

    1 - p_y is summed over the other classes, so a label that is nearly certain loses no digits. Without answer options
    p_y is exp(-mean loss of the answer's tokens), the geometric mean of their probabilities.
    """
    if OPTIONS not in scores.known:
        return _of_loss(scores.loss)
    from scipy.special import logsumexp

    rows = np.arange(len(scores))
    others = scores.logits.astype(np.float64)
    own = others[rows, scores.label]
    others[rows, scores.label] = -np.inf
    with np.errstate(divide="ignore"):  # a label without any other option
        wrong = logsumexp(others, axis=1)
    margin: Floats = np.clip(own - wrong, -LARGEST, LARGEST)
    return margin


def _of_loss(loss: Floats) -> Floats:
    """Return the confidence of labels with these losses, (n,)."""
    with np.errstate(divide="ignore"):
        odds: Floats = -loss - np.log(-np.expm1(-loss))
    return np.clip(odds, -LARGEST, LARGEST)
