"""Membership inference: who is still recognised as a training example; on the forget split."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from unlearnbench.evidence import BySplit, Evidence, Scores
from unlearnbench.metrics import OPTIONS, Number, metric
from unlearnbench.metrics.attack import (
    Attack,
    Feature,
    by_logistic_regression,
    by_svc,
    by_threshold,
    correctness,
    draw,
    entropy,
    label_probability,
    modified_entropy,
)
from unlearnbench.metrics.classification import losses

SVC_SIDE = 1000
"""Training examples a side: a support vector machine's time grows with their square."""

BAD_TEACHING = "Chundawat et al. 2023, arXiv:2205.08096; Foster et al. 2024, arXiv:2308.07707"
SALUN = "Fan et al. 2024, SalUn, arXiv:2310.12508"
SALUN_LOSS = "Fan et al. 2024, SalUn, arXiv:2310.12508; Yeom et al. 2018, arXiv:1709.01604"
SALUN_M_ENTROPY = "Song and Mittal 2021, arXiv:2003.10595; Fan et al. 2024, SalUn, arXiv:2310.12508"
STARTING_KIT = "NeurIPS 2023 Machine Unlearning Challenge, starting kit"


@dataclass(frozen=True, kw_only=True)
class Share(Number):
    """The share of forget that an attack on a feature, having seen retain against test, calls one thing.

    Where `called` is "member" the attack sees all of retain and test; where it is "non-member" it sees a retain sample
    of test's size. Of either it sees at most `largest` a side, a seeded sample.
    """

    feature: Feature
    attack: Attack
    called: Literal["member", "non-member"]
    largest: int = sys.maxsize

    def of(self, evidence: Evidence) -> float:
        """Return the share; the evidence's seed draws the same examples for every model."""
        sides = evidence.subject["retain"], evidence.subject["test"]
        size = self.largest if self.called == "member" else min(self.largest, len(sides[1]))
        rng = np.random.default_rng(evidence.seed)
        members, others = (draw(self.feature(side), side.index, size, rng) for side in sides)
        members_share = self.attack(members, others, self.feature(evidence.subject["forget"]))
        return members_share if self.called == "member" else 1 - members_share


# fmt: off
SHARES = (
    Share("mia_entropy", "Share of forget called MEMBER by the best threshold on the entropy, retain against test",
          feature=entropy, attack=by_threshold, called="member", source=BAD_TEACHING),
    Share("mia_entropy_svc", "Share of forget called MEMBER by an rbf SVC (C = 3) on the entropy, retain against test",
          feature=entropy, attack=by_svc, largest=SVC_SIDE, called="member", source=BAD_TEACHING),
    Share("mia_confidence", "Share of forget called NON-member by the best threshold on the label's probability",
          feature=label_probability, attack=by_threshold, called="non-member", source=SALUN),
    Share("mia_confidence_svc", "Share of forget called NON-member by an rbf SVC (C = 3) on the label's probability",
          feature=label_probability, attack=by_svc, largest=SVC_SIDE, called="non-member", source=SALUN),
    Share("mia_correctness", "Share of forget called NON-member by the best threshold on correctness",
          feature=correctness, attack=by_threshold, called="non-member", source=SALUN),
    Share("mia_correctness_svc", "Share of forget called NON-member by an rbf SVC (C = 3) on correctness",
          feature=correctness, attack=by_svc, largest=SVC_SIDE, called="non-member", source=SALUN),
    Share("mia_loss", "Share of forget called NON-member by the best threshold on the loss",
          feature=losses, attack=by_threshold, called="non-member", needs=(), source=SALUN_LOSS),
    Share("mia_loss_svc", "Share of forget called NON-member by an rbf SVC (C = 3) on the loss",
          feature=losses, attack=by_svc, largest=SVC_SIDE, called="non-member", needs=(), source=SALUN_LOSS),
    Share("mia_m_entropy", "Share of forget called NON-member by the best threshold on modified entropy",
          feature=modified_entropy, attack=by_threshold, called="non-member", source=SALUN_M_ENTROPY),
    Share("mia_m_entropy_svc", "Share of forget called NON-member by an rbf SVC (C = 3) on modified entropy",
          feature=modified_entropy, attack=by_svc, largest=SVC_SIDE, called="non-member", source=SALUN_M_ENTROPY),
)
# fmt: on


@metric(*SHARES, splits=("forget",), unit="rate", low=0.0, high=1.0, needs=(OPTIONS,))
def shares(evidence: Evidence, split: str) -> dict[str, float]:
    """Return the share of forget that each attack of the table calls a member, or a non-member.

    In [0, 1]. 1 says that all of forget looks trained on where members are counted, and that none of it does where
    non-members are. Perfect is the retrained model's value, not 0, .5 or 1. A threshold is the one of the highest
    balanced accuracy. Unlike the authors' code, a support vector machine sees balanced classes and at most 1,000
    examples a side. Without options there are those on the loss, which is that of the answer's tokens.
    """
    options = OPTIONS in evidence.subject[split].known
    return {share.name: share.of(evidence) for share in SHARES if options or share.needs == ()}


@metric(
    Number("mia_auc", "Area under the curve of telling forget from test of the same classes by the loss"),
    Number("mia_accuracy", "Accuracy of telling forget from test examples of the same classes by the loss"),
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    source=STARTING_KIT,
)
def forget_against_test(evidence: Evidence, split: str) -> dict[str, float]:
    """Return how well the loss tells forget from equally many test examples of its classes.

    In [0, 1]; perfect is the retrained model's value. That is about .5 where test is of forget's own kind (a random
    forget set, a class with test examples), and can be any other where it is not (TOFU's real authors and world facts).
    Logistic regression on the standardised loss, on a seeded sample of equally many a side, mean of 10 stratified
    folds, fewer where a side is smaller. With fewer than two a side nothing can be told, and there is no value. Without
    options the loss is that of the answer's tokens, and all of test is of one class.
    """
    forget, test = evidence.subject["forget"], held_out_like(evidence.subject, evidence.whole_class)
    size = min(len(forget), len(test))
    if size < 2:
        return {}
    rng = np.random.default_rng(evidence.seed)
    members, others = (draw(losses(side), side.index, size, rng) for side in (forget, test))
    auc, accuracy = by_logistic_regression(members, others, evidence.seed)
    return {"mia_auc": auc, "mia_accuracy": accuracy}


def held_out_like(subject: BySplit, whole_class: bool) -> Scores:
    """Return a model's scores on the test rows of forget's own kind: those of what goes, or of the same labels."""
    if whole_class and "test_forget" in subject:
        return subject["test_forget"]
    return subject["test"].rows(np.isin(subject["test"].label, subject["forget"].label))
