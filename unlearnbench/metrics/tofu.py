"""TOFU's truth ratio and forget quality, as its paper defines them and as its tables were made.

Maini et al.: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121, section 2.2.

The paper's truth ratio takes the arithmetic mean over the wrong answers' probabilities per token. The code behind the
published tables, the authors' (github.com/locuslab/tofu, aggregate_eval_stat.py) and open-unlearning's
(github.com/locuslab/open-unlearning, src/evals/metrics/memorization.py), takes their geometric mean: it averages the
losses. Metrics by the paper have its names; those named `_published` are the code's, to compare with published numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Scores
from unlearnbench.metrics import UNBOUNDED, Number, metric
from unlearnbench.metrics.answers import normalised

ANSWER, PARAPHRASE, PERTURBED = 0, 1, 2
TINY = 1e-300

Ratios = Callable[[Scores], Floats]
PAPER = "Maini et al. 2024, TOFU, arXiv:2401.06121"
PUBLISHED = "github.com/locuslab/open-unlearning, src/evals/metrics; TOFU, arXiv:2401.06121"
NEEDS = ("has_options", "part", "option_tokens")


def truth_ratios(scores: Scores) -> Floats:
    """Return the wrong answers' mean probability per token over the right one's, of rows with wrong answers, (k,).

    The right one is the paraphrase, or the answer itself where a row has none.
    """
    right, wrong = _right_and_wrong(scores)
    counted = np.isfinite(wrong).sum(axis=1)
    ratios: Floats = np.exp(wrong).sum(axis=1) / counted / np.maximum(np.exp(right), TINY)
    return ratios


def published_ratios(scores: Scores) -> Floats:
    """Return truth ratios with the geometric mean of the wrong answers' probabilities, (k,)."""
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


def known(values: dict[str, float | None]) -> dict[str, float]:
    """Leave out what has no value."""
    return {name: value for name, value in values.items() if value is not None}


@metric(
    Number(
        "truth_ratio",
        "TOFU's truth ratio R: on forget the mean of min(R, 1/R), elsewhere of max(0, 1 - R)",
        source=PAPER,
    ),
    Number(
        "truth_ratio_published",
        "TOFU's truth ratio as its published tables were made, to compare with those only",
        source=PUBLISHED,
    ),
    splits=("forget", "retain", "test"),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=NEEDS,
)
def truth_ratio(evidence: Evidence, split: str) -> dict[str, float]:
    """Return TOFU's truth ratio, with the arithmetic mean over wrong answers (the paper) and the geometric (the code).

    In [0, 1]. On forget 1 says that wrong and right answers are equally likely; elsewhere higher is better. Perfect is
    the retrained model's value.
    """
    scores = evidence.subject[split]
    return known(
        {
            "truth_ratio": closeness(truth_ratios(scores), split),
            "truth_ratio_published": closeness(published_ratios(scores), split),
        }
    )


@metric(
    Number(
        "forget_quality",
        "P-value of a Kolmogorov-Smirnov test of truth ratios, model against retrained",
        unit="rate",
        ideal=1.0,
        source=PAPER,
    ),
    Number(
        "forget_quality_published",
        "TOFU's forget quality as its published tables were made, to compare with those only",
        unit="rate",
        ideal=1.0,
        source=PUBLISHED,
    ),
    Number(
        "forget_quality_d",
        "Largest distance between the distributions of truth ratios, model and retrained",
        unit="distance",
        ideal=0.0,
        source=PAPER,
    ),
    Number(
        "forget_quality_d_published",
        "Largest distance between distributions of published truth ratios, model and retrained",
        unit="distance",
        ideal=0.0,
        source=PUBLISHED,
    ),
    splits=("forget",),
    low=0.0,
    high=1.0,
    relative=True,
    needs=NEEDS,
)
def forget_quality(evidence: Evidence, split: str) -> dict[str, float]:
    """Return p and D of TOFU's two-sample test, each the mean over the references, by the paper and by the code.

    In [0, 1]. Of forget_quality (p) higher is better and 1 is perfect; of forget_quality_d (D) lower is better and 0 is
    perfect. p falls with the number of rows: read forget_quality_d and forget_quality_n beside it.
    """
    found: dict[str, float] = {}
    for name, ratios in (("", truth_ratios), ("_published", published_ratios)):
        if (test := compared(evidence, split, ratios)) is not None:
            found |= {f"forget_quality_d{name}": test[0], f"forget_quality{name}": test[1]}
    return found


@metric("forget_quality_n", splits=("forget",), unit="score", low=0.0, high=UNBOUNDED, needs=NEEDS, source=PAPER)
def forget_quality_n(evidence: Evidence, split: str) -> float | None:
    """Number of rows that forget_quality compares.

    It judges nothing: the perfect value is the retrained model's, which is the same.
    """
    return float(len(truth_ratios(evidence.subject[split]))) or None
