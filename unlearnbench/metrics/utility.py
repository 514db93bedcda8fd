"""TOFU's model utility: what is left of probability, wording and truth on what should stay.

Maini et al.: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121, section 2.2. metrics/tofu.py
says why there are two of it.
"""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import Number, metric
from unlearnbench.metrics.answers import normalised
from unlearnbench.metrics.tofu import (
    ANSWER,
    PERTURBED,
    Ratios,
    asked,
    closeness,
    known,
    published_ratios,
    truth_ratios,
)
from unlearnbench.metrics.written import rouge_l_recall, written

PAPER = "Maini et al. 2024, TOFU, arXiv:2401.06121"
PUBLISHED = "github.com/locuslab/open-unlearning, src/evals/metrics; TOFU, arXiv:2401.06121"


def part_of(scores: Scores, part: str) -> Scores | None:
    """Return the rows of one part of the data, None where there are none."""
    rows = scores.extras["part"] == part
    return scores.rows(rows) if rows.any() else None


def utility(evidence: Evidence, ratios: Ratios) -> float | None:
    """Return the harmonic mean of three terms on each of three parts of the data; None where one is missing.

    scipy.stats.hmean rounds differently, which changes model_utility in its last digit.
    """
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
    Number(
        "model_utility",
        "Harmonic mean of probability, ROUGE-L and truth ratio on three parts of the data",
        source=PAPER,
    ),
    Number(
        "model_utility_published",
        "TOFU's model utility as its published tables were made, to compare with those only",
        source=PUBLISHED,
    ),
    splits=("test",),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("has_options", "part", "option_tokens"),
)
def model_utility(evidence: Evidence, split: str) -> dict[str, float]:
    """Return TOFU's model utility on retain, real authors and world facts, by the paper and by the code.

    In [0, 1], higher is better; perfect is the retrained model's value. It is over the rows with wrong answers, and
    needs written answers of all three parts: the ROUGE terms are over eval.generate rows a split. eval.generate=400
    writes all of TOFU's, as published tables do.
    """
    return known(
        {
            "model_utility": utility(evidence, truth_ratios),
            "model_utility_published": utility(evidence, published_ratios),
        }
    )
