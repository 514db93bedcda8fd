"""TOFU's truth ratio, forget quality and model utility.

Maini et al.: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121, section 2.2.
"""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Scores
from unlearnbench.metrics import UNBOUNDED, metric
from unlearnbench.metrics.answers import normalised, rouge_l_recall, written

ANSWER, PARAPHRASE, PERTURBED = 0, 1, 2


def truth_ratios(scores: Scores) -> Floats:
    """Mean probability per token of the wrong answers over that of the right one, of rows with wrong answers, (k,).

    The right one is the paraphrase, or the answer itself where a row has none.
    """
    per_token = normalised(scores)[scores.extras["has_options"].astype(bool)]
    right = np.where(np.isneginf(per_token[:, PARAPHRASE]), per_token[:, ANSWER], per_token[:, PARAPHRASE])
    wrong = np.exp(per_token[:, PERTURBED:])
    counted = np.isfinite(per_token[:, PERTURBED:]).sum(axis=1)
    ratios: Floats = wrong.sum(axis=1) / counted / np.maximum(np.exp(right), 1e-300)
    return ratios


def part_of(scores: Scores, part: str) -> Scores | None:
    """Return the rows of one part of the data, None where there are none."""
    rows = scores.extras["part"] == part
    return scores.rows(rows) if rows.any() else None


def utility_terms(scores: Scores, several: bool) -> list[float] | None:
    """Probability, ROUGE-L recall and truth ratio of one part of the data; None where one of them has no row.

    With `several` answers to choose from (real authors, world facts) the probability is relative to theirs.
    """
    pairs = written(scores) if "generated" in scores.extras else []
    ratios = truth_ratios(scores)
    if not pairs or not len(ratios):
        return None
    likely = np.exp(normalised(scores))
    probability = likely[:, ANSWER] / likely.sum(axis=1) if several else likely[:, ANSWER]
    return [float(probability.mean()), rouge_l_recall(pairs), float(np.maximum(0, 1 - ratios).mean())]


@metric(
    "truth_ratio",
    splits=("forget", "retain", "test"),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("has_options", "part", "option_tokens"),
    source="Maini et al. 2024, TOFU, arXiv:2401.06121",
)
def truth_ratio(evidence: Evidence, split: str) -> float | None:
    """TOFU's truth ratio R: on forget the mean of min(R, 1/R), elsewhere of max(0, 1 - R).

    In [0, 1]. On forget 1 says that wrong and right answers are equally likely; elsewhere higher is better. Perfect is
    the retrained model's value.
    """
    ratios = truth_ratios(evidence.subject[split])
    if not len(ratios):
        return None
    if split == "forget":
        return float(np.minimum(ratios, 1 / np.maximum(ratios, 1e-300)).mean())
    return float(np.maximum(0, 1 - ratios).mean())


@metric(
    "forget_quality",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    ideal=1.0,
    relative=True,
    needs=("has_options", "part", "option_tokens"),
    source="Maini et al. 2024, TOFU, arXiv:2401.06121",
)
def forget_quality(evidence: Evidence, split: str) -> float | None:
    """P-value of a Kolmogorov-Smirnov test of truth ratios, model against retrained.

    In [0, 1]; 1 is perfect. Two-sample test, mean over the references. It falls with the number of rows: read
    forget_quality_d and forget_quality_n beside it.
    """
    found = _tests(evidence, split)
    return float(np.mean([p for _, p in found])) if found else None


@metric(
    "forget_quality_d",
    splits=("forget",),
    unit="distance",
    low=0.0,
    high=1.0,
    ideal=0.0,
    relative=True,
    needs=("has_options", "part", "option_tokens"),
    source="Maini et al. 2024, TOFU, arXiv:2401.06121",
)
def forget_quality_d(evidence: Evidence, split: str) -> float | None:
    """Largest distance between the distributions of truth ratios, model and retrained.

    In [0, 1]; 0 is perfect. The Kolmogorov-Smirnov statistic, mean over the references.
    """
    found = _tests(evidence, split)
    return float(np.mean([d for d, _ in found])) if found else None


@metric(
    "forget_quality_n",
    splits=("forget",),
    unit="score",
    low=0.0,
    high=UNBOUNDED,
    needs=("has_options", "part", "option_tokens"),
    source="Maini et al. 2024, TOFU, arXiv:2401.06121",
)
def forget_quality_n(evidence: Evidence, split: str) -> float | None:
    """Number of rows that forget_quality compares.

    It judges nothing: the perfect value is the retrained model's, which is the same.
    """
    return float(len(truth_ratios(evidence.subject[split]))) or None


@metric(
    "model_utility",
    splits=("test",),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("has_options", "part", "option_tokens"),
    source="Maini et al. 2024, TOFU, arXiv:2401.06121",
)
def model_utility(evidence: Evidence, split: str) -> float | None:
    """Harmonic mean of probability, ROUGE-L and truth ratio on three parts of the data.

    On retain, real authors and world facts. In [0, 1], higher is better; perfect is the retrained model's value. It
    stands where answers of all three parts were written out (eval.generate=200).
    """
    parts = [part_of(evidence.subject["test"], part) for part in ("real_authors", "world_facts")]
    terms: list[float] = []
    for scores, several in [(evidence.subject["retain"], False), *((part, True) for part in parts)]:
        found = utility_terms(scores, several) if scores is not None else None
        if found is None:
            return None
        terms += found
    return float(len(terms) / np.sum(1 / np.maximum(terms, 1e-12)))


def _tests(evidence: Evidence, split: str) -> list[tuple[float, float]]:
    """Return (D, p) against each reference."""
    from scipy.stats import ks_2samp

    mine = truth_ratios(evidence.subject[split])
    if not len(mine):
        return []
    tests = [ks_2samp(mine, truth_ratios(reference[split])) for reference in evidence.references]
    return [(float(test.statistic), float(test.pvalue)) for test in tests]
