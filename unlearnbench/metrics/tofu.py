"""TOFU's truth ratio, forget quality and model utility, as its paper defines them and as its tables were made.

Maini et al.: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121, section 2.2.

The paper's truth ratio takes the arithmetic mean over the wrong answers' probabilities per token. The code behind the
published tables, the authors' (github.com/locuslab/tofu, aggregate_eval_stat.py) and open-unlearning's
(github.com/locuslab/open-unlearning, src/evals/metrics/memorization.py), takes their geometric mean: it averages the
losses. Metrics by the paper have its names; those named `_published` are the code's, to stand beside published numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Scores
from unlearnbench.metrics import UNBOUNDED, metric
from unlearnbench.metrics.answers import normalised, rouge_l_recall, written

ANSWER, PARAPHRASE, PERTURBED = 0, 1, 2
TINY = 1e-300

Ratios = Callable[[Scores], Floats]


def truth_ratios(scores: Scores) -> Floats:
    """Mean probability per token of the wrong answers over that of the right one, of rows with wrong answers, (k,).

    The right one is the paraphrase, or the answer itself where a row has none.
    """
    right, wrong = _right_and_wrong(scores)
    counted = np.isfinite(wrong).sum(axis=1)
    ratios: Floats = np.exp(wrong).sum(axis=1) / counted / np.maximum(np.exp(right), TINY)
    return ratios


def published_ratios(scores: Scores) -> Floats:
    """Return the same with the geometric mean of the wrong answers' probabilities, (k,)."""
    right, wrong = _right_and_wrong(scores)
    mean = np.nanmean(np.where(np.isfinite(wrong), wrong, np.nan), axis=1)
    ratios: Floats = np.exp(mean) / np.maximum(np.exp(right), TINY)
    return ratios


def _right_and_wrong(scores: Scores) -> tuple[Floats, Floats]:
    """Return log-likelihoods per token of the right (k,) and the wrong answers (k, w); -inf where there is none."""
    per_token = normalised(asked(scores))
    right = np.where(np.isneginf(per_token[:, PARAPHRASE]), per_token[:, ANSWER], per_token[:, PARAPHRASE])
    return right, per_token[:, PERTURBED:]


def asked(scores: Scores) -> Scores:
    """Return the rows with wrong answers: those that TOFU's evaluation asks."""
    return scores.rows(scores.extras["has_options"].astype(bool))


def closeness(ratios: Floats, split: str) -> float | None:
    """Return the mean of min(R, 1/R) on forget, of max(0, 1 - R) elsewhere; None without a row."""
    if not len(ratios):
        return None
    if split == "forget":
        return float(np.minimum(ratios, 1 / np.maximum(ratios, TINY)).mean())
    return float(np.maximum(0, 1 - ratios).mean())


def compared(evidence: Evidence, split: str, ratios: Ratios) -> tuple[float, float] | None:
    """Return D and p of the Kolmogorov-Smirnov test of truth ratios, each the mean over the references."""
    from scipy.stats import ks_2samp

    mine = ratios(evidence.subject[split])
    if not len(mine):
        return None
    tests = [ks_2samp(mine, ratios(reference[split])) for reference in evidence.references]
    return float(np.mean([test.statistic for test in tests])), float(np.mean([test.pvalue for test in tests]))


def part_of(scores: Scores, part: str) -> Scores | None:
    """Return the rows of one part of the data, None where there are none."""
    rows = scores.extras["part"] == part
    return scores.rows(rows) if rows.any() else None


def utility(evidence: Evidence, ratios: Ratios) -> float | None:
    """Return the harmonic mean of three terms on each of three parts of the data; None where one is missing."""
    parts = [part_of(evidence.subject["test"], part) for part in ("real_authors", "world_facts")]
    terms: list[float] = []
    for scores, several in [(evidence.subject["retain"], False), *((part, True) for part in parts)]:
        found = utility_terms(scores, several, ratios) if scores is not None else None
        if found is None:
            return None
        terms += found
    return float(len(terms) / np.sum(1 / np.maximum(terms, 1e-12)))


def utility_terms(scores: Scores, several: bool, ratios: Ratios) -> list[float] | None:
    """Probability, ROUGE-L recall and truth ratio of the rows that are asked; None where one of them has no row.

    With `several` answers to choose from (real authors, world facts) the probability is relative to theirs.
    """
    rows = asked(scores)
    pairs = written(rows) if "generated" in rows.extras else []
    truth = closeness(ratios(rows), "retain")
    if not pairs or truth is None:
        return None
    likely = np.exp(normalised(rows))
    answer, wrong = likely[:, ANSWER], likely[:, PERTURBED:].sum(axis=1)
    probability = answer / (answer + wrong) if several else answer
    return [float(probability.mean()), rouge_l_recall(pairs), truth]


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
    the retrained model's value. R takes the arithmetic mean over wrong answers, as the paper defines it.
    """
    return closeness(truth_ratios(evidence.subject[split]), split)


@metric(
    "truth_ratio_published",
    splits=("forget", "retain", "test"),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("has_options", "part", "option_tokens"),
    source="github.com/locuslab/open-unlearning, src/evals/metrics; TOFU, arXiv:2401.06121",
)
def truth_ratio_published(evidence: Evidence, split: str) -> float | None:
    """TOFU's truth ratio as its published tables were made, to compare with those only.

    As `truth_ratio`, with the geometric mean over wrong answers. In [0, 1]; perfect is the retrained model's value.
    """
    return closeness(published_ratios(evidence.subject[split]), split)


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
    forget_quality_d and forget_quality_n beside it. Of the paper's truth ratios (arithmetic mean).
    """
    found = compared(evidence, split, truth_ratios)
    return found[1] if found else None


@metric(
    "forget_quality_published",
    splits=("forget",),
    unit="rate",
    low=0.0,
    high=1.0,
    ideal=1.0,
    relative=True,
    needs=("has_options", "part", "option_tokens"),
    source="github.com/locuslab/open-unlearning, src/evals/metrics; TOFU, arXiv:2401.06121",
)
def forget_quality_published(evidence: Evidence, split: str) -> float | None:
    """TOFU's forget quality as its published tables were made, to compare with those only.

    As `forget_quality`, of truth ratios with the geometric mean over wrong answers. In [0, 1]; 1 is perfect.
    """
    found = compared(evidence, split, published_ratios)
    return found[1] if found else None


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

    In [0, 1]; 0 is perfect. The Kolmogorov-Smirnov statistic behind forget_quality, mean over the references.
    """
    found = compared(evidence, split, truth_ratios)
    return found[0] if found else None


@metric(
    "forget_quality_d_published",
    splits=("forget",),
    unit="distance",
    low=0.0,
    high=1.0,
    ideal=0.0,
    relative=True,
    needs=("has_options", "part", "option_tokens"),
    source="github.com/locuslab/open-unlearning, src/evals/metrics; TOFU, arXiv:2401.06121",
)
def forget_quality_d_published(evidence: Evidence, split: str) -> float | None:
    """Largest distance between distributions of published truth ratios, model and retrained.

    In [0, 1]; 0 is perfect. The statistic behind forget_quality_published, mean over the references.
    """
    found = compared(evidence, split, published_ratios)
    return found[0] if found else None


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

    On retain, real authors and world facts, of the rows with wrong answers. In [0, 1], higher is better; perfect is the
    retrained model's value. It needs written answers of all three parts: the ROUGE terms are over eval.generate rows a
    split, and over all of TOFU's with eval.generate=400. Of the paper's truth ratios (arithmetic mean).
    """
    return utility(evidence, truth_ratios)


@metric(
    "model_utility_published",
    splits=("test",),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("has_options", "part", "option_tokens"),
    source="github.com/locuslab/open-unlearning, src/evals/metrics; TOFU, arXiv:2401.06121",
)
def model_utility_published(evidence: Evidence, split: str) -> float | None:
    """TOFU's model utility as its published tables were made, to compare with those only.

    As `model_utility`, of truth ratios with the geometric mean over wrong answers. In [0, 1], higher is better; perfect
    is the retrained model's value. Published ones write all answers out: eval.generate=400.
    """
    return utility(evidence, published_ratios)
