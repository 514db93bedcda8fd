"""TOFU's terms one by one: probability, ROUGE-L and truth ratio of each part of the data that it asks about.

Maini et al.: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121, section 2.2. On retain, real
authors and world facts these are the nine numbers whose harmonic mean is model_utility. Of forget and retain, ROUGE-L
and the truth ratio are `rouge_l` and `truth_ratio`.
"""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import Number, metric
from unlearnbench.metrics.answers import normalised
from unlearnbench.metrics.tofu import ANSWER, PERTURBED, asked, closeness, known, published_ratios, truth_ratios
from unlearnbench.metrics.utility import part_of
from unlearnbench.metrics.written import rouge_l_recall, written

PAPER = "Maini et al. 2024, TOFU, arXiv:2401.06121"
PUBLISHED = "github.com/locuslab/open-unlearning, src/evals/metrics; TOFU, arXiv:2401.06121"
NEEDS = ("has_options", "part", "option_tokens")


@metric(
    "answer_probability",
    splits=("forget", "retain"),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=NEEDS,
    source=PAPER,
)
def answer_probability(evidence: Evidence, split: str) -> float | None:
    """Geometric mean probability of a token of the answer, mean over TOFU's questions.

    In [0, 1]; higher is more certain of the answer trained on; perfect is the retrained model's value.
    """
    rows = asked(evidence.subject[split])
    return float(np.exp(normalised(rows)[:, ANSWER]).mean()) if len(rows) else None


HELD_OUT = (
    Number("real_authors_probability", "Probability of the right answer among the given ones, on real authors"),
    Number("real_authors_rouge_l", "ROUGE-L recall of written answers on real authors"),
    Number("real_authors_truth_ratio", "TOFU's mean of max(0, 1 - R) on real authors"),
    Number(
        "real_authors_truth_ratio_published", "The same on real authors as published tables were made", source=PUBLISHED
    ),
    Number("world_facts_probability", "Probability of the right answer among the given ones, on world facts"),
    Number("world_facts_rouge_l", "ROUGE-L recall of written answers on world facts"),
    Number("world_facts_truth_ratio", "TOFU's mean of max(0, 1 - R) on world facts"),
    Number(
        "world_facts_truth_ratio_published", "The same on world facts as published tables were made", source=PUBLISHED
    ),
)


@metric(*HELD_OUT, splits=("test",), unit="rate", low=0.0, high=1.0, needs=NEEDS, source=PAPER)
def held_out_parts(evidence: Evidence, split: str) -> dict[str, float]:
    """Return probability, ROUGE-L and truth ratio on each of TOFU's two held-out parts.

    In [0, 1], higher is better; perfect is the retrained model's value. ROUGE-L needs written answers of the part.
    """
    parts = {part: part_of(evidence.subject[split], part) for part in ("real_authors", "world_facts")}
    return {
        f"{part}_{name}": value
        for part, scores in parts.items()
        if scores is not None
        for name, value in _terms(asked(scores)).items()
    }


def _terms(rows: Scores) -> dict[str, float]:
    """Return the terms of the rows that are asked; those that no row has are left out."""
    if not len(rows):
        return {}
    likely = np.exp(normalised(rows))
    answer, wrong = likely[:, ANSWER], likely[:, PERTURBED:].sum(axis=1)
    pairs = written(rows) if "generated" in rows.extras else []
    return known(
        {
            "probability": float((answer / (answer + wrong)).mean()),
            "rouge_l": rouge_l_recall(pairs) if pairs else None,
            "truth_ratio": closeness(truth_ratios(rows), "retain"),
            "truth_ratio_published": closeness(published_ratios(rows), "retain"),
        }
    )
