"""Membership attacks: features (a number an example), rules that tell members by one, and seeded samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray

from unlearnbench.evidence import Floats, Integers, Scores
from unlearnbench.metrics.classification import losses

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline
    from sklearn.svm import SVC

SMALLEST = 1e-30  # Song & Mittal's stand-in for a probability of 0 inside a logarithm

NODES, NODES_A_UNIT, MOST_NODES = 24, 6, 384
"""Values of a decision function that a series goes through, and more of them for a wider range: enough to 1e-12."""
CLEAR = 1e-6
"""How far from 0 a series must be to decide; its error is far below."""

Feature = Callable[[Scores], Floats]
Attack = Callable[[Floats, Floats, Floats], float]
"""The share of some targets that it calls members, having seen members and non-members."""


def entropy(scores: Scores) -> Floats:
    """Return the entropy of the softmax in nats, (n,)."""
    from scipy.special import entr

    nats: Floats = entr(scores.probabilities).sum(axis=1)
    return nats


def label_probability(scores: Scores) -> Floats:
    """Return the probability of the label, (n,), which papers on attacks call confidence."""
    rate: Floats = np.exp(-scores.loss)
    return rate


def correctness(scores: Scores) -> Floats:
    """Return 1 where the arg-max is the label, else 0, (n,) float64."""
    hits: Floats = (scores.prediction == scores.label).astype(np.float64)
    return hits


def modified_entropy(scores: Scores) -> Floats:
    """Return -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i), in nats, (n,); 0 is certain and right.

    Song and Mittal, Systematic Evaluation of Privacy Risks, USENIX Security 2021, arXiv:2003.10595;
    not SalUn's port, whose column indexing mixes the rows.
    """
    others = scores.probabilities.copy()
    others[np.arange(len(scores)), scores.label] = 0.0
    wrong = others * np.log(np.maximum(1 - others, SMALLEST))
    nats: Floats = others.sum(axis=1) * losses(scores) - wrong.sum(axis=1)
    return nats


@dataclass(frozen=True)
class Threshold:
    """A rule on one feature: a member is at or above `at`, or, not `above`, below it. Without `at` nobody is one."""

    at: float | None
    above: bool

    def calls_member(self, feature: Floats) -> NDArray[np.bool_]:
        """Return for each value (n,) whether it looks like a member's, (n,) bool."""
        if self.at is None:
            return np.zeros(len(feature), dtype=np.bool_)
        return np.asarray((feature >= self.at) == self.above)


def best_threshold(members: Floats, others: Floats) -> Threshold:
    """Return the threshold of the highest balanced accuracy, members against others, in either direction.

    Thresholds are midpoints between neighbouring values. Ties: members above first, then the lowest threshold.
    Where all values are equal nothing can be learnt, and nobody is called a member (a logistic regression's answer).
    scikit-learn's roc_curve has rates in floats, which break ties by rounding; here they are exact.
    """
    values = np.unique(np.concatenate([members, others]))
    if len(values) == 1:
        return Threshold(None, True)
    members_above = len(members) - np.searchsorted(np.sort(members), values[1:])
    others_above = len(others) - np.searchsorted(np.sort(others), values[1:])
    # Balanced accuracy times 2 |members| |others|, in integers: ties are exact.
    score = members_above * len(others) + (len(others) - others_above) * len(members)
    above = bool(score.max() >= 2 * len(members) * len(others) - score.min())
    cut = int(score.argmax() if above else score.argmin())
    middle = values[cut] + (values[cut + 1] - values[cut]) / 2
    return Threshold(float(middle if middle > values[cut] else values[cut + 1]), above)


def by_threshold(members: Floats, others: Floats, targets: Floats) -> float:
    """Return the share of the targets that the best threshold calls members."""
    return float(best_threshold(members, others).calls_member(targets).mean())


def by_svc(members: Floats, others: Floats, targets: Floats) -> float:
    """Return the share of the targets that an rbf support vector machine (C = 3) on the raw feature calls members.

    SVC(C=3, gamma="auto", kernel="rbf", class_weight="balanced"), where equal examples are one with the sum of
    their weights: the same problem, and far quicker where outputs are saturated.
    """
    from sklearn.svm import SVC

    values, weights, labels = [], [], []
    for label, side in ((1, members), (0, others)):
        distinct, counts = np.unique(side, return_counts=True)
        values.append(distinct)
        weights.append(counts * (len(members) + len(others)) / (2 * len(side)))
        labels.append(np.full(len(distinct), label))
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(np.concatenate(values)[:, None], np.concatenate(labels), sample_weight=np.concatenate(weights))
    return float(_predicted(machine, targets).mean())


def _predicted(machine: SVC, targets: Floats) -> NDArray[np.bool_]:
    """Return what the machine's `predict` does of one feature (n,): the same answers, without asking it each time.

    Its decision function is a sum of Gaussians of one width, so a Chebyshev series through a few of its values follows
    it closely. The machine itself is asked where the series is not clearly above or below 0.
    """
    low, high = targets.min(), targets.max()
    nodes = NODES + math.ceil(NODES_A_UNIT * (high - low))
    if nodes > min(len(targets), MOST_NODES) or low == high:
        return np.asarray(machine.predict(targets[:, None]) > 0)
    series = Chebyshev.interpolate(lambda x: machine.decision_function(x[:, None]), nodes - 1, [low, high])
    value = series(targets)
    unsure = np.abs(value) < CLEAR + 1000 * np.abs(series.coef[-nodes // 8 :]).sum()
    found: NDArray[np.bool_] = value > 0
    if unsure.any():
        found[unsure] = machine.predict(targets[unsure, None]) > 0
    return found


def draw(values: Floats, index: Integers, size: int, rng: np.random.Generator) -> Floats:
    """Draw at most `size` of the values without replacement, in the order of `index`: row order never matters."""
    ordered = values[np.argsort(index, kind="stable")]
    return ordered if size >= len(ordered) else ordered[np.sort(rng.choice(len(ordered), size, replace=False))]


def area_under_curve(members: Floats, others: Floats) -> float:
    """Return the chance that a member's score is above another's, ties counting half: Mann and Whitney's U.

    scikit-learn's roc_auc_score adds up a curve in floats, and differs in the last digit.
    """
    from scipy.stats import mannwhitneyu

    u = mannwhitneyu(members, others, method="asymptotic").statistic
    return float(u / (len(members) * len(others)))


def by_logistic_regression(members: Floats, others: Floats, seed: int) -> tuple[float, float]:
    """Return area under the curve and accuracy of telling equally many members and others apart by a feature.

    The means over 10 stratified folds of a logistic regression on the standardised feature. With fewer than ten a side
    there are as many folds as examples a side; with fewer than two nothing can be told: 0.5.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_validate
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = min(10, len(members), len(others))
    if count < 2:
        return 0.5, 0.5
    found = cross_validate(
        make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky")),
        np.concatenate([members, others])[:, None],
        np.repeat([1, 0], [len(members), len(others)]),
        cv=StratifiedKFold(count, shuffle=True, random_state=seed % 2**32),
        scoring=_told_apart,
        error_score="raise",
    )
    return float(np.mean(found["test_auc"])), float(np.mean(found["test_accuracy"]))


def _told_apart(model: Pipeline, feature: Floats, label: Integers) -> dict[str, float]:
    """Score a fold; a regression that saw one value only has no slope, and calls nobody a member."""
    score = model.decision_function(feature) if model[-1].coef_.any() else np.zeros(len(feature))
    is_member = label == 1
    auc = area_under_curve(score[is_member], score[~is_member])
    return {"auc": auc, "accuracy": float(((score > 0) == is_member).mean())}
