"""Membership attacks on one number per example: features, the attacks, and seeded samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evidence import Floats, Integers, Scores
from unlearnbench.metrics.classification import losses

SMALLEST = 1e-30  # Song & Mittal's stand-in for a probability of 0 inside a logarithm


def entropy(scores: Scores) -> Floats:
    """Entropy of the softmax in nats, (n,); 0 log 0 is 0."""
    p = scores.probabilities
    nats: Floats = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)
    return nats


def confidence(scores: Scores) -> Floats:
    """Probability of the label, (n,)."""
    rate: Floats = np.exp(-scores.loss)
    return rate


def correctness(scores: Scores) -> Floats:
    """1 where the arg-max is the label, else 0, (n,) float64."""
    hits: Floats = (scores.prediction == scores.label).astype(np.float64)
    return hits


def modified_entropy(scores: Scores) -> Floats:
    """-(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i), in nats, (n,); 0 is certain and right.

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
    """A rule on one feature: a member is at or above `at` (or, not `above`, below it); no `at`: nobody is one."""

    at: float | None
    above: bool

    def calls_member(self, feature: Floats) -> NDArray[np.bool_]:
        """Say for each value (n,) whether it looks like a member's, (n,) bool."""
        if self.at is None:
            return np.zeros(len(feature), dtype=np.bool_)
        return np.asarray((feature >= self.at) == self.above)


def best_threshold(members: Floats, others: Floats) -> Threshold:
    """Return the threshold of the highest balanced accuracy, members against others, in either direction.

    Thresholds are midpoints between neighbouring values. Ties: members above first, then the lowest threshold.
    Where all values are equal nothing can be learnt, and nobody is called a member (a logistic regression's answer).
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
    return float(machine.predict(targets[:, None]).mean())


def draw(values: Floats, index: Integers, size: int, rng: np.random.Generator) -> Floats:
    """Draw at most `size` of the values without replacement, in the order of `index`: row order never matters."""
    ordered = values[np.argsort(index, kind="stable")]
    return ordered if size >= len(ordered) else ordered[np.sort(rng.choice(len(ordered), size, replace=False))]


def area_under_curve(members: Floats, others: Floats) -> float:
    """Return the chance that a member's score is above another's, ties counting half."""
    ranked = np.sort(others)
    below, not_above = np.searchsorted(ranked, members), np.searchsorted(ranked, members, side="right")
    return float((below + not_above).sum() / (2 * len(members) * len(others)))


@dataclass(frozen=True)
class CrossValidated:
    """Mean over the folds of a logistic regression's area under the curve and accuracy."""

    auc: float
    accuracy: float


def by_logistic_regression(members: Floats, others: Floats, seed: int) -> CrossValidated:
    """Tell equally many members and others apart by a standardised feature, 10-fold stratified cross-validation.

    With fewer than ten a side, as many folds as examples a side; with fewer than two nothing can be told: 0.5.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    folds = min(10, len(members), len(others))
    if folds < 2:
        return CrossValidated(0.5, 0.5)
    feature = np.concatenate([members, others])[:, None]
    labels = np.repeat([1, 0], [len(members), len(others)])
    aucs, accuracies = [], []
    for train, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed % 2**32).split(feature, labels):
        score = np.zeros(len(held_out))  # what a regression answers that saw one value only
        if np.ptp(feature[train]) > 0:
            centre, spread = feature[train].mean(), feature[train].std()
            model = LogisticRegression(solver="newton-cholesky").fit((feature[train] - centre) / spread, labels[train])
            score = model.decision_function((feature[held_out] - centre) / spread)
        is_member = labels[held_out] == 1
        aucs.append(area_under_curve(score[is_member], score[~is_member]))
        accuracies.append(float(((score > 0) == is_member).mean()))
    return CrossValidated(float(np.mean(aucs)), float(np.mean(accuracies)))
