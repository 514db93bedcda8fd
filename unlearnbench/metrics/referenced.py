"""Membership scores that compare a model with others which never saw the rows: RMIA and difficulty calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unlearnbench.evidence import Floats
from unlearnbench.metrics.told_apart import Sides

TINY = float(np.finfo(np.float64).tiny)


def calibrated(target: Floats, references: Floats) -> Floats:
    """Return how much higher a signal is in the target, (n,), than in the mean of the references, (k, n)."""
    values: Floats = target - references.mean(axis=0)
    return values


def likelihood_ratio(target: Floats, references: Floats, a: float) -> Floats:
    """Return p_target / p of probabilities (n,), where p = ((1 + a) mean_ref + 1 - a) / 2; references are (k, n)."""
    expected = ((1 + a) * references.mean(axis=0) + 1 - a) / 2
    ratio: Floats = target / np.maximum(expected, TINY)
    return ratio


def dominated(ratios: Floats, population: Floats, gamma: float) -> Floats:
    """Return the share of a population's ratios, (m,), that each ratio, (n,), is more than gamma times as high as."""
    share: Floats = np.searchsorted(np.sort(gamma * population), ratios, side="left") / len(population)
    return share


def rmia(target: Sides, references: Sequence[Sides], a: float, gamma: float) -> Sides:
    """Return RMIA's scores of forget rows and of held-out rows, in [0, 1], from the probabilities of their labels.

    The held-out rows are also the population z. Each of them is compared with the other ones only: its own comparison
    can never succeed, which would push it below an equal forget row.
    """
    of_members, of_others = (
        likelihood_ratio(signal, np.stack([reference[side] for reference in references]), a)
        for side, signal in enumerate(target)
    )
    count = len(of_others)
    among_others = dominated(of_others, of_others, gamma) * count / (count - 1)
    return dominated(of_members, of_others, gamma), among_others


def difference(target: Sides, references: Sequence[Sides]) -> Sides:
    """Return the calibrated signals of forget rows and of held-out rows."""
    members, others = (
        calibrated(signal, np.stack([reference[side] for reference in references]))
        for side, signal in enumerate(target)
    )
    return members, others
