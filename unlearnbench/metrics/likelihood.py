"""Likelihood-ratio attacks on many models at once: one Gaussian per example and side, leaving the attacked model out.

Carlini et al., Membership Inference Attacks From First Principles, IEEE S&P 2022, arXiv:2112.03570; for unlearning,
Hayes et al., Inexact Unlearning Needs More Careful Evaluations, 2024, arXiv:2403.01218.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evidence import Floats
from unlearnbench.metrics.attack import area_under_curve

Mask = NDArray[np.bool_]
FEW = 16
"""Below this many observations an example's variance says little: the mean over the examples takes its place."""
FLOOR = 1e-6
"""The least variance, of confidences in nats: models that all say the same still have a Gaussian."""
RATES = {"fpr_01": 0.01, "fpr_001": 0.001}
"""False-positive rates at which the true-positive rate is reported, by the end of the metric's name."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack finds: rates over all pairs of a model and an example, and the accuracy on each example, (n,).

    `accuracy` and `by_example` are the mean of the true-positive and the true-negative rate at even odds; a tie counts
    half. In [0, 1]; .5 is a guess. `tpr` are true-positive rates by the name of the false-positive rate; one is left
    out where there are too few non-members for it.
    """

    accuracy: float
    auc: float
    tpr: dict[str, float]
    by_example: Floats


def log_ratio(values: Floats, members: Mask, others: Mask) -> Floats:
    """Return log N(value; members) - log N(value; others) for each model and example, (m, n) float64.

    `values` (m, n) are confidences, `members` and `others` (m, n) say on which side a model is for an example; it is
    NaN where a model is on neither. Its own value is left out of its side's mean and variance. Where either side has
    fewer than 16 observations, the variances of both are means over the examples.
    """
    known = members | others
    found = np.full(values.shape, np.nan)
    few = min(members.sum(axis=0).min(), others.sum(axis=0).min()) < FEW
    sides = [_log_density(values, side, pooled=bool(few)) for side in (members, others)]
    found[known] = (sides[0] - sides[1])[known]
    return found


def _log_density(values: Floats, side: Mask, *, pooled: bool) -> Floats:
    """Return the log density of each value under a side's Gaussian without that value, (m, n)."""
    count = side.sum(axis=0)
    centred = values - np.where(side, values, 0).sum(axis=0) / count  # sums of squares of small numbers lose no digits
    own = np.where(side, centred, 0.0)
    left = count - side  # how many observations are left, (m, n)
    mean = (own.sum(axis=0) - own) / left
    variance = ((own**2).sum(axis=0) - own**2 - left * mean**2) / (left - 1)
    if pooled:
        variance = np.broadcast_to(variance.mean(axis=1, keepdims=True), variance.shape)
    variance = np.maximum(variance, FLOOR)
    density: Floats = -0.5 * ((centred - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    return density


def attack(values: Floats, members: Mask, others: Mask) -> Attacked:
    """Attack each model with the others: tell from its confidence in an example whether it is a member's.

    Shapes as in `log_ratio`. Each side needs three observations of every example: one is attacked, two are left.
    """
    ratio = log_ratio(values, members, others)
    called = (ratio > 0) + 0.5 * (ratio == 0)
    hits, rejections = np.where(members, called, 0.0), np.where(others, 1 - called, 0.0)
    by_example = (hits.sum(axis=0) / members.sum(axis=0) + rejections.sum(axis=0) / others.sum(axis=0)) / 2
    accuracy = (hits.sum() / members.sum() + rejections.sum() / others.sum()) / 2
    positive, negative = ratio[members], ratio[others]
    return Attacked(float(accuracy), area_under_curve(positive, negative), dict(rates(positive, negative)), by_example)


def rates(positive: Floats, negative: Floats) -> Iterator[tuple[str, float]]:
    """Yield the true-positive rate at each false-positive rate that the number of negatives can show."""
    for name, rate in RATES.items():
        allowed = int(len(negative) * rate)
        if allowed:
            threshold = np.sort(negative)[::-1][allowed]  # at most `allowed` negatives lie above it
            yield name, float((positive > threshold).mean())


def published(right: Floats, members: Mask, others: Mask) -> float:
    """Return DeepUnlearn's membership probability, the mean over its forgotten observations, as its code computes it.

    Cadet et al., Deep Unlearn, 2024, arXiv:2410.01276 (munl/lira): Gaussians of 0/1 correctness (m, n), the attacked
    model's own value included, and no floor under the variance. Examples without variance have no number and are left
    out; NaN where that is all of them. .5 is the ideal, but its null is above .5.
    """
    from scipy.stats import norm

    with np.errstate(invalid="ignore", divide="ignore"):
        density = [norm.pdf(right, *_moments(right, side)) for side in (members, others)]
        chance = np.where(members, density[0] / (density[0] + density[1]), np.nan)
    usable = chance[:, ~np.isnan(np.where(members, chance, 0)).any(axis=0)]
    return float(np.nanmean(usable)) if usable.size else float("nan")


def _moments(values: Floats, side: Mask) -> tuple[Floats, Floats]:
    chosen = np.where(side, values, np.nan)
    return np.nanmean(chosen, axis=0), np.nanstd(chosen, axis=0)
