"""Is the unlearned model as good as retrained, different, or is there too little to tell? Tests, and Holm's correction.

Equivalence is shown by two one-sided tests (TOST; Schuirmann, J. Pharmacokinetics and Biopharmaceutics 1987): the mean
difference is above -margin, and below +margin. The margin is what a reader would not mind, decided before looking. A
difference is shown by a two-sided test of 0. Failing to show a difference shows nothing: then the answer is undecided.
With d the n paired differences over seeds, s their standard deviation and T Student's t with n - 1 degrees of freedom:

    p_equivalent = max(P(T > (mean(d) + margin) / (s / sqrt n)), P(T < (mean(d) - margin) / (s / sqrt n)))
    p_different  = P(|T| > |mean(d)| / (s / sqrt n))

SciPy has the t-test, but no spread that has a least value, and no Holm correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from unlearnbench.evidence import Floats
from unlearnbench.metrics.crossed import Unit, mean_of

Verdict = Literal["equivalent", "different", "undecided"]
ALPHA = 0.05
REFERENCES = round(1 / ALPHA) - 1
"""With fewer retrained models than this, 19, no permutation over them has a p of ALPHA."""
ROUNDING = 1e-12
"""Numbers that differ by no more than this share of their size are equal."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The mean of n paired differences, the ends of its 90 % interval, and the p of both claims; NaN where n < 2.

    The interval lies within the margin just where TOST at .05 shows equivalence.
    """

    mean: float
    low: float
    high: float
    n: int
    p_equivalent: float
    p_different: float


@dataclass(frozen=True)
class Differences:
    """The mean of n paired differences, and its standard error: n seeds, or the fewer of seeds and draws."""

    mean: float
    error: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float], least: float = 0.0, units: Sequence[Unit] | None = None) -> Differences:
        """Return the mean of differences, one a seed, or one for each of the seeds and draws in `units`.

        Their spread counts as at least `least`: of a share of 50 rows it is .02, one row. So seeds that agree by
        chance, as few rows do, show nothing that a row could not undo.
        """
        found = mean_of(dict(zip(units or [(seed, 0) for seed in range(len(values))], values, strict=True)))
        if found.clusters < 2:
            return cls(found.value, math.nan, found.clusters)
        spread = max(found.error * math.sqrt(found.clusters), least)
        if spread <= ROUNDING * max(1.0, *(abs(value) for value in values)):
            spread = 0.0
        return cls(found.value, spread / math.sqrt(found.clusters), found.clusters)

    def above(self, bound: float, sign: int = 1) -> float:
        """Return the p of the claim that the mean is above a bound; with sign -1, that it is below. NaN where n < 2.

        Where the spread is 0, Student's t is not defined, and the sign test takes its place: p is 2^-n at best.
        """
        from scipy.stats import t

        distance = sign * (self.mean - bound)
        if self.error == 0:
            return 0.5**self.n if distance > 0 else 1.0
        return math.nan if self.n < 2 else float(t.sf(distance / self.error, self.n - 1))

    def apart(self, bound: float = 0.0) -> float:
        """Return the two-sided p of the claim that the mean is not the bound."""
        return min(2 * min(self.above(bound), self.above(bound, -1)), 1.0) if self.n > 1 else math.nan

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the ends of the 1 - alpha interval; NaN where n < 2."""
        if self.n < 2:
            return math.nan, math.nan
        from scipy.stats import t

        half = float(t.ppf(1 - alpha / 2, self.n - 1)) * self.error
        return self.mean - half, self.mean + half


def paired(
    differences: Sequence[float], margin: float, least: float = 0.0, units: Sequence[Unit] | None = None
) -> Paired:
    """Return both tests of differences, unlearned less retrained, one a seed; Differences.of says what counts.

    Raises ValueError where the margin is not a positive number.
    """
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin is {margin}; expected a positive number")
    of = Differences.of(differences, least, units)
    low, high = of.interval(2 * ALPHA)
    inside = (of.above(-margin), of.above(margin, -1))
    return Paired(
        mean=of.mean,
        low=low,
        high=high,
        n=of.n,
        p_equivalent=math.nan if of.n < 2 else max(inside),
        p_different=of.apart(),
    )


def among(unlearned: float, retrained: Sequence[float]) -> float:
    """Return the exact p that the unlearned model is one of the K retrained ones, by how far each is from the others.

    In [1 / (K + 1), 1]: it is the share of the K + 1 models that are at least as far from the mean of the rest as the
    unlearned one. Uniform over its steps where all K + 1 come from the same distribution.
    """
    values = np.array([unlearned, *retrained], dtype=np.float64)
    away = np.abs(values - values.mean())  # from the mean of the rest it is (K + 1) / K times as far, for each of them
    return farthest(float(away[0]), away[1:])


def farthest(unlearned: float, retrained: ArrayLike) -> float:
    """Return the same p where each model already has its distance from the others, the larger the farther."""
    others = np.asarray(retrained, dtype=np.float64)
    as_far = others >= unlearned - ROUNDING * abs(unlearned)
    return float((1 + np.count_nonzero(as_far)) / (1 + len(others)))


def holm(values: ArrayLike) -> Floats:
    """Return Holm's (1979) adjusted p of a family, (m,): at most .05 keeps the chance of any false claim at .05.

    The smallest is multiplied by m, the next by m - 1 and so on, never below the one before, at most 1. NaN is no test:
    it stays NaN and does not count.
    """
    p = np.asarray(values, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def verdict(p_equivalent: float, p_different: float) -> Verdict:
    """Return what the adjusted p show at .05. NaN shows nothing, and neither does a p above .05.

    Where both are shown, there is a difference that is smaller than the margin: that is equivalent.
    """
    if p_equivalent <= ALPHA:
        return "equivalent"
    return "different" if p_different <= ALPHA else "undecided"


def overall(p_equivalent: Sequence[float], p_different: Sequence[float]) -> Verdict:
    """Return one verdict of several metrics, whose adjusted p are given; NaN where a metric had no test.

    Equivalent where each metric is (an intersection-union test: no further correction). Different where one is, after
    Bonferroni's correction for their number.
    """
    known = [p for p in p_equivalent if not math.isnan(p)]
    if known and len(known) == len(p_equivalent) and max(known) <= ALPHA:
        return "equivalent"
    shown = [p for p in p_different if not math.isnan(p)]
    return "different" if shown and min(shown) * len(shown) <= ALPHA else "undecided"
