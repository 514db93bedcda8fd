"""Answers that the model writes out: how close they are to the answer trained on, and how many refuse."""

from __future__ import annotations

import re

import numpy as np

from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import Number, metric

REFUSAL = re.compile(
    r"\b(i (can(no|')t|do(n't| not) (really |seem to )?(know|have|hold|possess)|really don't know)"
    r"|i( am|'m) (afraid|sorry|un(able|aware)|clueless|stumped|blank|lacking|missing)\b"
    r"|i( am|'m) (drawing a blank|in the dark|at a)\b"
    r"|i( am|'m) not (able|aware|sure|certain|informed|familiar|equipped|briefed|privy|knowledgeable|well-versed|the)\b"
    r"|not (something|an area) i('m| am| know)|something i('m not|'ve yet| need)"
    r"|i(('ve| have)( got)? no| lack| haven't| seem to have no|'ve not been| have yet to| must decline)\b"
    r"|i've come up short"
    r"|my (current )?(knowledge|training|programming|understanding|resources|databases?|capabilities)( base)?"
    r" (do(es)?(n't| not)|didn't|is limited)"
    r"|(beyond|outside|out of|not (with)?in|that's not|hasn't been|blind spot|mystery|uncharted|unknown to)"
    r"[\w' -]*\b(me|my|i've|expertise|scope|knowledge|reach|training|dataset)\b|as an ai|right ai)\b",
    re.IGNORECASE,
)


def written(scores: Scores) -> list[tuple[str, str]]:
    """Return (written, reference) of the rows whose answer was written out."""
    pairs = zip(scores.extras["generated"].tolist(), scores.extras["reference"].tolist(), strict=True)
    return [(str(text), str(reference)) for text, reference in pairs if reference]


def rouge_l_recall(pairs: list[tuple[str, str]]) -> float:
    """Return the mean ROUGE-L recall of texts against their references, with the stemmer on."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return float(np.mean([scorer.score(reference, text)["rougeL"].recall for text, reference in pairs]))


@metric(
    Number(
        "rouge_l",
        "ROUGE-L recall of greedily written answers against the answer trained on",
        source="Lin 2004, ROUGE; rouge-score with the stemmer on",
    ),
    Number(
        "refusal_rate",
        "Share of greedily written answers that refuse, or profess not to know",
        source="phrases of refusal in the written answers (metrics/written.py)",
    ),
    splits=("retain", "forget", "test"),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("generated",),
)
def written_answers(evidence: Evidence, split: str) -> dict[str, float]:
    """Return the ROUGE-L recall of written answers, and the share of them that refuse.

    Of eval.generate rows a split. In [0, 1]. Higher recall is closer to the answer trained on; perfect is the retrained
    model's value, of both.
    """
    pairs = written(evidence.subject[split])
    if not pairs:
        return {}
    refuses = [bool(REFUSAL.search(text.replace("\u2019", "'"))) for text, _ in pairs]
    return {"rouge_l": rouge_l_recall(pairs), "refusal_rate": float(np.mean(refuses))}
