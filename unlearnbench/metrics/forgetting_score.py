"""The forgetting score of the NeurIPS 2023 challenge: can an attack on a forget row tell unlearned from retrained?

Triantafillou et al. 2024, Are we making progress in unlearning?, arXiv:2406.09073; code:
google-deepmind/unlearning_evaluation.

For each forget row x, from its confidences (metrics/confidence.py) over N unlearned and N retrained models:

    epsilon(x) = max over attacks of log((1 - delta - FPR) / FNR) and log((1 - delta - FNR) / FPR), in [0, 50]
    score = mean over x of 1/2^k, k = floor(epsilon(x) / .5); 0 from epsilon(x) = ceil(ln(N - 1)) on

An attack calls a model by one threshold on its confidence, or by two: inside or outside of an interval. Thresholds lie
.01 apart: for one, over the whole range; for two, within 2 of where the narrower of both samples ends. A threshold with
one error rate of 0 is dropped, since so few models cannot show that it is 0; with both 0, epsilon is 50. It is 50 too
where one sample is less than 1 % as wide as the other.

The thresholds are the authors', to the last digit of float64. Their 160,000 intervals a row are counted in 400 x 2N
cells. Their code needs CUDA, takes rates and single thresholds in float32, and fails at `assert thr_eps` for every row
with more than one threshold. It also fails where all models of both kinds agree, or where every threshold is dropped.
Here epsilon is 0 then: nothing tells the models apart.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from unlearnbench.evidence import Floats, Integers

DELTA = 1e-5
CAP = 50.0
"""The largest epsilon."""
PER_UNIT = 100
"""Thresholds in a unit of confidence."""
BUFFER = 2.0
"""How far from the narrower sample's ends an interval may begin and end."""
NARROW = 0.01
"""Where one sample has less than this share of the other's width, epsilon is the largest."""
BUCKET = 0.5


def forgetting_score(epsilon: Floats, models: int) -> float:
    """Return the score of epsilons (n,) that `models` unlearned and as many retrained models gave.

    In [0, 1], higher is better; 1 is perfect, and out of reach: retrained models against each other have about .2.
    Fewer than three models have no bucket, and no score but 0.
    """
    buckets = 2 * math.ceil(math.log(models - 1)) if models > 2 else 0
    bucket = np.floor(epsilon / BUCKET)
    return float(np.where(bucket < buckets, 0.5**bucket, 0.0).mean())


def epsilons(unlearned: Floats, retrained: Floats, delta: float = DELTA) -> Floats:
    """Return epsilon of each row, (n,) in [0, 50], from confidences (N, n) of both kinds of models; 0 is perfect."""
    assert unlearned.shape == retrained.shape, "as many unlearned as retrained models, of the same rows"
    mine, theirs = (np.sort(one.astype(np.float64), axis=0) for one in (unlearned, retrained))
    table = _table(len(mine), delta)
    above = np.median(theirs, axis=0) > np.median(mine, axis=0)
    positive, negative = np.where(above, theirs, mine), np.where(above, mine, theirs)
    return np.array([_epsilon(one, other, table) for one, other in zip(positive.T, negative.T, strict=True)])


@lru_cache(maxsize=8)
def _table(models: int, delta: float) -> Floats:
    """Return epsilon by how many positives an attack misses and how many negatives it takes for positives."""
    rates = np.arange(models + 1) / models
    fnr, fpr = rates[:, None], rates[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        both = [np.log(1 - delta - fpr) - np.log(fnr), np.log(1 - delta - fnr) - np.log(fpr)]
        found = np.fmax(*both)
    found = np.where(np.isnan(found) | (fnr * fpr == 0), 0.0, np.clip(found, 0, CAP))
    found[0, 0] = CAP
    found.setflags(write=False)
    return found


def _epsilon(positive: Floats, negative: Floats, table: Floats) -> float:
    """Return the largest epsilon of any attack, from sorted confidences (N,) of both kinds of models."""
    widths = positive[-1] - positive[0], negative[-1] - negative[0]
    if max(widths) > 0 and min(widths) / max(widths) < NARROW:
        return CAP
    pair = (negative, positive) if widths[0] >= widths[1] else (positive, negative)
    return float(max(_of_interval(*pair, table), _of_threshold(positive, negative, table)))


def _of_threshold(positive: Floats, negative: Floats, table: Floats) -> float:
    """Return the largest epsilon of calling positive what is at or above one threshold."""
    low, high = min(positive[0], negative[0]), max(positive[-1], negative[-1])
    cuts = np.linspace(low, high, math.ceil((high - low) * PER_UNIT))
    if not len(cuts):
        return 0.0
    missed, passed = np.searchsorted(positive, cuts), np.searchsorted(negative, cuts)
    return float(table[missed, len(negative) - passed].max())


def _of_interval(narrow: Floats, wide: Floats, table: Floats) -> float:
    """Return the largest epsilon of calling an interval's inside the narrower sample.

    400 right ends, each with 400 left ends. Which models are inside changes only where a left end passes a model, so
    for each right end it is enough to know between which models there is a left end.
    """
    width = narrow[-1] - narrow[0]
    low, high = narrow[0] + width - BUFFER, narrow[-1] + BUFFER
    right = np.linspace(low, high, math.ceil((high - low) * PER_UNIT))
    values = np.sort(np.concatenate([narrow, wide]))
    passed = _left_ends(right - width, values)
    row, first = np.nonzero(np.diff(passed, axis=1, prepend=0))  # a left end behind the model before, up to this one
    inside = [
        np.maximum(np.searchsorted(one, right, "right")[row] - np.searchsorted(one, values)[first], 0)
        for one in (narrow, wide)
    ]
    return float(table[len(narrow) - inside[0], inside[1]].max()) if len(row) else 0.0


def _left_ends(middle: Floats, values: Floats) -> Integers:
    """Return how many left ends are at or below each value (v,), for each row's middle (r,), as (r, v).

    A row's left ends are np.linspace(middle - 2, middle + 2, 400). Counted by division, which rounding may put off by
    one, and then put right by comparing with the very numbers.
    """
    count = math.ceil(2 * BUFFER * PER_UNIT)
    start, stop = (middle - BUFFER)[:, None], (middle + BUFFER)[:, None]
    step = (stop - start) / (count - 1)
    guess = np.clip(np.floor((values - start) / step), 0, count - 2)
    after = np.where(guess + 1 == count - 1, stop, (guess + 1) * step + start)
    found: Integers = (guess + (guess * step + start <= values) + (after <= values)).astype(np.int64)
    return found
