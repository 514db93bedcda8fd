"""Membership inference: who is still recognised as a training example; on the forget split."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Scores
from unlearnbench.metrics import metric
from unlearnbench.metrics.attack import (
    CrossValidated,
    by_logistic_regression,
    by_svc,
    by_threshold,
    confidence,
    correctness,
    draw,
    entropy,
    modified_entropy,
)
from unlearnbench.metrics.classification import losses

Feature = Callable[[Scores], Floats]
Attack = Callable[[Floats, Floats, Floats], float]

EVERY = sys.maxsize
SVC_SIDE = 1000  # training examples a side: a support vector machine's time grows with their square


def called_member(evidence: Evidence, feature: Feature, attack: Attack, size: int) -> float:
    """Return the share of forget that the attack calls members, having seen retain against test.

    Members and non-members are at most `size` examples a side, drawn by the evidence's seed: the same
    examples for every model.
    """
    rng = np.random.default_rng(evidence.seed)
    sides = (evidence.subject["retain"], evidence.subject["test"])
    members, others = (draw(feature(side), side.index, size, rng) for side in sides)
    return attack(members, others, feature(evidence.subject["forget"]))


def called_other(evidence: Evidence, feature: Feature, attack: Attack, largest: int = EVERY) -> float:
    """Return the share of forget called NON-member; members are a retain sample of test's size (SalUn)."""
    return 1 - called_member(evidence, feature, attack, min(largest, len(evidence.subject["test"])))


def forget_against_test(evidence: Evidence) -> CrossValidated | None:
    """Tell forget from equally many test examples of its classes by the loss, with the evidence's seed.

    None with fewer than two a side: nothing can be told, and chance is what a perfect result would be.
    """
    forget, test = evidence.subject["forget"], evidence.subject["test"]
    if evidence.whole_class and "test_forget" in evidence.subject:
        test = evidence.subject["test_forget"]
    else:
        test = test.rows(np.isin(test.label, forget.label))
    rng = np.random.default_rng(evidence.seed)
    size = min(len(forget), len(test))
    if size < 2:
        return None
    members, others = (draw(losses(side), side.index, size, rng) for side in (forget, test))
    return by_logistic_regression(members, others, evidence.seed)


@metric(
    "mia_entropy",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Chundawat et al. 2023, arXiv:2205.08096; Foster et al. 2024, arXiv:2308.07707",
)
def mia_entropy(evidence: Evidence, split: str) -> float:
    """Share of forget called MEMBER by the best threshold on the entropy, retain against test.

    In [0, 1]; 1 says that all of forget looks trained on. Perfect is the retrained model's value, not 0 or .5.
    All of retain and test are seen; the threshold has the highest balanced accuracy.
    """
    return called_member(evidence, entropy, by_threshold, EVERY)


@metric(
    "mia_entropy_svc",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Chundawat et al. 2023, arXiv:2205.08096; Foster et al. 2024, arXiv:2308.07707",
)
def mia_entropy_svc(evidence: Evidence, split: str) -> float:
    """Share of forget called MEMBER by an rbf SVC (C = 3) on the entropy, retain against test.

    In [0, 1]; 1 says that all of forget looks trained on. Perfect is the retrained model's value. Unlike the
    authors' code, classes are balanced and at most 1,000 examples a side are seen (a seeded sample).
    """
    return called_member(evidence, entropy, by_svc, SVC_SIDE)


@metric(
    "mia_confidence",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Fan et al. 2024, SalUn, arXiv:2310.12508",
)
def mia_confidence(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by the best threshold on the label's probability.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value, not 0, .5 or 1.
    Members are a seeded retain sample of test's size, non-members are test.
    """
    return called_other(evidence, confidence, by_threshold)


@metric(
    "mia_confidence_svc",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Fan et al. 2024, SalUn, arXiv:2310.12508",
)
def mia_confidence_svc(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by an rbf SVC (C = 3) on the label's probability.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value. At most
    1,000 examples a side are seen (a seeded sample), with balanced classes.
    """
    return called_other(evidence, confidence, by_svc, SVC_SIDE)


@metric(
    "mia_correctness",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Fan et al. 2024, SalUn, arXiv:2310.12508",
)
def mia_correctness(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by the best threshold on correctness.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value, not 0, .5 or 1.
    Members are a seeded retain sample of test's size, non-members are test.
    """
    return called_other(evidence, correctness, by_threshold)


@metric(
    "mia_correctness_svc",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Fan et al. 2024, SalUn, arXiv:2310.12508",
)
def mia_correctness_svc(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by an rbf SVC (C = 3) on correctness.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value. At most
    1,000 examples a side are seen (a seeded sample), with balanced classes.
    """
    return called_other(evidence, correctness, by_svc, SVC_SIDE)


@metric(
    "mia_loss",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Fan et al. 2024, SalUn, arXiv:2310.12508; Yeom et al. 2018, arXiv:1709.01604",
)
def mia_loss(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by the best threshold on the loss.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value, not 0, .5 or 1.
    Members are a seeded retain sample of test's size, non-members are test.
    """
    return called_other(evidence, losses, by_threshold)


@metric(
    "mia_loss_svc",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Fan et al. 2024, SalUn, arXiv:2310.12508; Yeom et al. 2018, arXiv:1709.01604",
)
def mia_loss_svc(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by an rbf SVC (C = 3) on the loss.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value. At most
    1,000 examples a side are seen (a seeded sample), with balanced classes.
    """
    return called_other(evidence, losses, by_svc, SVC_SIDE)


@metric(
    "mia_m_entropy",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Song and Mittal 2021, arXiv:2003.10595; Fan et al. 2024, SalUn, arXiv:2310.12508",
)
def mia_m_entropy(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by the best threshold on modified entropy.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value, not 0, .5 or 1.
    Members are a seeded retain sample of test's size, non-members are test.
    """
    return called_other(evidence, modified_entropy, by_threshold)


@metric(
    "mia_m_entropy_svc",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="Song and Mittal 2021, arXiv:2003.10595; Fan et al. 2024, SalUn, arXiv:2310.12508",
)
def mia_m_entropy_svc(evidence: Evidence, split: str) -> float:
    """Share of forget called NON-member by an rbf SVC (C = 3) on modified entropy.

    In [0, 1]; 1 says that none of forget looks trained on. Perfect is the retrained model's value. At most
    1,000 examples a side are seen (a seeded sample), with balanced classes.
    """
    return called_other(evidence, modified_entropy, by_svc, SVC_SIDE)


@metric(
    "mia_auc",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="NeurIPS 2023 Machine Unlearning Challenge, starting kit",
)
def mia_auc(evidence: Evidence, split: str) -> float | None:
    """Area under the curve of telling forget from test of the same classes by the loss.

    In [0, 1]; perfect is the retrained model's value. That is about .5 where test is of forget's own kind (a random
    forget set, a class with test examples), and can be any other where it is not (TOFU's real authors and world facts).
    Logistic regression on the standardised loss, equally many a side (a seeded sample), mean of 10 stratified folds,
    fewer where a side is smaller; with fewer than two a side nothing can be told, and there is no value.
    """
    found = forget_against_test(evidence)
    return None if found is None else found.auc


@metric(
    "mia_accuracy",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source="NeurIPS 2023 Machine Unlearning Challenge, starting kit",
)
def mia_accuracy(evidence: Evidence, split: str) -> float | None:
    """Accuracy of telling forget from test examples of the same classes by the loss.

    In [0, 1]; perfect is the retrained model's value. That is about .5 where test is of forget's own kind (a random
    forget set, a class with test examples), and can be any other where it is not (TOFU's real authors and world facts).
    Logistic regression on the standardised loss, equally many a side (a seeded sample), mean of 10 stratified folds,
    fewer where a side is smaller; with fewer than two a side nothing can be told, and there is no value.
    """
    found = forget_against_test(evidence)
    return None if found is None else found.accuracy
