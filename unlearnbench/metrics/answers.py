"""Answers in words: agreement with the corrected answer, likelihood, memorisation, what is written out."""

from __future__ import annotations

import re

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Integers, Scores
from unlearnbench.metrics import EVERYWHERE, UNBOUNDED, metric

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


def normalised(scores: Scores) -> Floats:
    """Log-likelihood of each option per token, (n, c) float64; -inf where a row has no such option."""
    tokens = scores.extras["option_tokens"].astype(np.float64)
    exists = tokens > 0
    per_token = np.full(tokens.shape, -np.inf)
    per_token[exists] = scores.logits.astype(np.float64)[exists] / tokens[exists]
    return per_token


def answer_hits(scores: Scores) -> Integers:
    """Say which tokens of an answer are the most likely ones, (n, t) int64; -1 behind it, where its turn ends too."""
    hits = scores.extras["answer_hit"].astype(np.int64)
    own = (hits >= 0).sum(axis=1) - scores.extras["answer_end_tokens"].astype(np.int64)
    kept: Integers = np.where(np.arange(hits.shape[1]) < own[:, None], hits, -1)
    return kept


def extraction_strength_of(hits: Integers) -> Floats:
    """1 - the share of the answer that must be given before the rest follows greedily, (n,); rows padded with -1."""
    lengths = (hits >= 0).sum(axis=1)
    wrong = np.where(hits == 0, np.arange(1, hits.shape[1] + 1), 0)
    needed = wrong.max(axis=1, initial=0)  # everything up to the last wrong token
    strength: Floats = 1 - needed / np.maximum(lengths, 1)
    return strength


def written(scores: Scores) -> list[tuple[str, str]]:
    """Return (written, reference) of the rows whose answer was written out."""
    pairs = zip(scores.extras["generated"].tolist(), scores.extras["reference"].tolist(), strict=True)
    return [(str(text), str(reference)) for text, reference in pairs if reference]


def rouge_l_recall(pairs: list[tuple[str, str]]) -> float:
    """Mean ROUGE-L recall of texts against their references, with the stemmer on."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return float(np.mean([scorer.score(reference, text)["rougeL"].recall for text, reference in pairs]))


@metric(
    "accuracy_corrected",
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("corrected", "pair"),
    source="share of arg-max answers that are the corrected one",
)
def accuracy_corrected(evidence: Evidence, split: str) -> float:
    """Share of examples answered with the corrected answer.

    Of a biased row that is the unbiased judgement. In [0, 1], higher is less biased; perfect is the retrained model's
    value.
    """
    scores = evidence.subject[split]
    return float((scores.prediction == scores.extras["corrected"]).mean())


@metric(
    "accuracy_normalised",
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("option_tokens",),
    source="lm-evaluation-harness, acc_norm (per token)",
)
def accuracy_normalised(evidence: Evidence, split: str) -> float:
    """Accuracy where options are compared by log-likelihood per token.

    So that long ones are not at a disadvantage. In [0, 1]; perfect is the retrained model's value.
    """
    scores = evidence.subject[split]
    return float((normalised(scores).argmax(axis=1) == scores.label).mean())


@metric(
    "answer_nll",
    splits=EVERYWHERE,
    unit="nats",
    low=0.0,
    high=UNBOUNDED,
    needs=("answer_log_probability",),
    source="mean over examples of the mean cross-entropy of an answer's tokens",
)
def answer_nll(evidence: Evidence, split: str) -> float:
    """Cross-entropy per token of the answer trained on, nats, mean over examples.

    At least 0; perfect is the retrained model's value.
    """
    return float(
        -np.nanmean(evidence.subject[split].extras["answer_log_probability"].astype(np.float64), axis=1).mean()
    )


@metric(
    "exact_memorisation",
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("answer_hit", "answer_end_tokens"),
    source="Tirumala et al. 2022, arXiv:2205.10770",
)
def exact_memorisation(evidence: Evidence, split: str) -> float:
    """Share of an answer's tokens that are the most likely ones under teacher forcing.

    The end of the turn, which every answer shares, does not count. Mean over examples, in [0, 1]; perfect is the
    retrained model's value. Equals open-unlearning's exact_memorization.
    """
    hits = answer_hits(evidence.subject[split])
    return float(((hits == 1).sum(axis=1) / (hits >= 0).sum(axis=1)).mean())


@metric(
    "extraction_strength",
    splits=EVERYWHERE,
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("answer_hit", "answer_end_tokens"),
    source="Wang et al. 2025, arXiv:2406.13356; after Carlini et al. 2021, arXiv:2012.07805",
)
def extraction_strength(evidence: Evidence, split: str) -> float:
    """1 - the share of an answer that must be given before the rest follows greedily.

    Mean over examples, in [0, 1]; 1: the question alone gives the whole answer. Perfect is the retrained model's value.
    The end of the turn does not count. Where an answer's last token is wrong, open-unlearning's code gives one over its
    length; by the paper's definition, and here, it is 0.
    """
    return float(extraction_strength_of(answer_hits(evidence.subject[split])).mean())


@metric(
    "rouge_l",
    splits=("retain", "forget", "test"),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("generated",),
    source="Lin 2004, ROUGE; rouge-score with the stemmer on",
)
def rouge_l(evidence: Evidence, split: str) -> float | None:
    """ROUGE-L recall of greedily written answers against the answer trained on.

    Of eval.generate rows a split. In [0, 1]; perfect is the retrained model's value.
    """
    pairs = written(evidence.subject[split])
    return rouge_l_recall(pairs) if pairs else None


@metric(
    "refusal_rate",
    splits=("retain", "forget", "test"),
    unit="rate",
    low=0.0,
    high=1.0,
    needs=("generated",),
    source="phrases of refusal in the written answers (metrics/answers.py)",
)
def refusal_rate(evidence: Evidence, split: str) -> float | None:
    """Share of greedily written answers that refuse, or profess not to know.

    In [0, 1]; perfect is the retrained model's value.
    """
    pairs = written(evidence.subject[split])
    return float(np.mean([bool(REFUSAL.search(text.replace("\u2019", "'"))) for text, _ in pairs])) if pairs else None
