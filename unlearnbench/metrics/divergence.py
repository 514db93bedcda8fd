"""How far a model's outputs are from a retrained model's, or from an incompetent network's."""

from __future__ import annotations

import numpy as np

from unlearnbench.evidence import BySplit, Evidence, Floats
from unlearnbench.metrics import COMPARED, UNBOUNDED, metric

LOWEST_LOG = float(np.log(np.finfo(np.float64).tiny))  # -708.4: what a probability of exactly 0 counts as
PUBLISHED_CLAMP = float(np.finfo(np.float32).tiny)  # 1.2e-38: below it the published float32 code goes to infinity


def finite(log_probabilities: Floats) -> Floats:
    """Replace log 0 by the log of the smallest normal float64, so that no divergence or loss is infinite."""
    values: Floats = np.where(np.isneginf(log_probabilities), LOWEST_LOG, log_probabilities)
    return values


def relative_entropy(p: Floats, q: Floats) -> Floats:
    """KL(p || q) in nats per row, (n,); rows (n, c) are probabilities, q > 0 where p matters, and 0 log 0 is 0."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=(p > 0) & (q > 0))
    nats: Floats = (p * np.log(ratio)).sum(axis=1)
    return nats


def kl_nats(log_p: Floats, log_q: Floats) -> Floats:
    """KL(p || q) in nats per row, (n,), from log-probabilities (n, c); options of probability 0 in p are left out.

    An option that q excludes outright (-inf) though p allows it counts as LOWEST_LOG.
    """
    p = np.exp(log_p)
    terms = p * np.subtract(log_p, finite(log_q), out=np.zeros_like(log_p), where=p > 0)
    nats: Floats = np.maximum(terms.sum(axis=1), 0.0)
    return nats


def js_bits(p: Floats, q: Floats) -> Floats:
    """Jensen-Shannon divergence in bits per row, (n,) in [0, 1]; rows (n, c) are probabilities (Lin 1991)."""
    mixture = (p + q) / 2
    nats = (relative_entropy(p, mixture) + relative_entropy(q, mixture)) / 2
    bits: Floats = np.clip(nats / np.log(2), 0.0, 1.0)
    return bits


def js_published_by_example(p: Floats, q: Floats) -> Floats:
    """Return rows (n,) whose mean is the divergence of Chundawat et al.'s code (`JSDiv`): KL from the mixture, in nats.

    `F.kl_div(log p, m)` is m log(m / p), and its default mean divides by the number of options too; padded
    options (0 in both) are not counted. Probabilities are clamped at 1.2e-38, where theirs is infinite.
    """
    exists = (p > 0) | (q > 0)
    p, q = (np.maximum(side, PUBLISHED_CLAMP) for side in (p, q))
    mixture = (p + q) / 2
    terms = np.where(exists, mixture * (np.log(mixture) - (np.log(p) + np.log(q)) / 2), 0.0)
    nats: Floats = terms.sum(axis=1) * len(p) / exists.sum()
    return nats


def l2_distance(p: Floats, q: Floats) -> Floats:
    """Euclidean distance between the rows (n, c) of two arrays of probabilities, (n,) in [0, sqrt 2]."""
    distance: Floats = np.sqrt(np.square(p - q).sum(axis=1))
    return distance


@metric(
    "kl_from_retrained",
    splits=COMPARED,
    unit="nats",
    low=0.0,
    high=UNBOUNDED,
    ideal=0.0,
    relative=True,
    source="Kullback and Leibler 1951; Golatkar, Achille, Soatto 2020, arXiv:1911.04933",
)
def kl_from_retrained(evidence: Evidence, split: str) -> float:
    """Mean KL(retrained || model) of the softmax outputs, in nats.

    At least 0, lower is better, 0 is perfect: the retrained model's outputs. Mean over the references.
    """
    model = evidence.subject[split].log_probabilities
    return _mean([kl_nats(reference[split].log_probabilities, model).mean() for reference in evidence.references])


@metric(
    "js_to_retrained",
    splits=COMPARED,
    unit="bits",
    low=0.0,
    high=1.0,
    ideal=0.0,
    relative=True,
    source="Lin 1991, Divergence measures based on the Shannon entropy",
)
def js_to_retrained(evidence: Evidence, split: str) -> float:
    """Mean Jensen-Shannon divergence (bits) between the softmax outputs of model and retrained.

    In [0, 1], lower is better, 0 is perfect: the retrained model's outputs. Mean over the references.
    """
    model = evidence.subject[split].probabilities
    return _mean([js_bits(model, reference[split].probabilities).mean() for reference in evidence.references])


@metric(
    "js_published",
    splits=COMPARED,
    unit="nats",
    low=0.0,
    high=21.5,
    ideal=0.0,
    relative=True,
    source="Chundawat et al. 2023, github.com/vikram2000b/bad-teaching-unlearning, metrics.py",
)
def js_published(evidence: Evidence, split: str) -> float:
    """Divergence to retrained as Chundawat's code computes it, for published tables only.

    At least 0, lower is better, 0 is perfect: the retrained model's outputs. KL from the mixture, in nats, divided by
    the number of classes; theirs is of the forgotten class's test images (`test_forget`). At most 21.5 here (two
    options), unbounded there. Mean over the references.
    """
    model = evidence.subject[split].probabilities
    others = (reference[split].probabilities for reference in evidence.references)
    return _mean([js_published_by_example(model, other).mean() for other in others])


@metric(
    "activation_distance",
    splits=COMPARED,
    unit="distance",
    low=0.0,
    high=1.4142135623730951,
    ideal=0.0,
    relative=True,
    source="Golatkar et al. 2021, arXiv:2012.13431; Chundawat et al. 2023, arXiv:2205.08096",
)
def activation_distance(evidence: Evidence, split: str) -> float:
    """Mean L2 distance between the softmax outputs of model and retrained.

    In [0, sqrt 2], lower is better, 0 is perfect: the retrained model's outputs. Mean over the references.
    """
    model = evidence.subject[split].probabilities
    return _mean([l2_distance(model, reference[split].probabilities).mean() for reference in evidence.references])


@metric(
    "zrf",
    splits=("forget", "test_forget"),
    unit="score",
    low=0.0,
    high=1.0,
    source="Chundawat et al. 2023, arXiv:2205.08096, with the true JS divergence in bits",
)
def zrf(evidence: Evidence, split: str) -> float:
    """Zero retrain forgetting: 1 - mean JS divergence (bits) to a random-weight network.

    In [0, 1]; 1 is the output of a network that never learnt anything. Perfect is the retrained model's value,
    usually below 1. Mean over the incompetent networks.
    """
    model = evidence.subject[split].probabilities
    return _mean([1 - js_bits(model, other[split].probabilities).mean() for other in _incompetent(evidence)])


@metric(
    "zrf_published",
    splits=("forget", "test_forget"),
    unit="score",
    low=-20.5,
    high=1.0,
    source="Chundawat et al. 2023, github.com/vikram2000b/bad-teaching-unlearning, metrics.py",
)
def zrf_published(evidence: Evidence, split: str) -> float:
    """ZRF as its authors' code computes it, to compare with published tables only.

    At most 1, unbounded below in theirs; probabilities are clamped at 1.2e-38, so at least -20.5 (two options).
    Perfect is the retrained model's value. 1 - `js_published` to the incompetent networks, and their mean; theirs is of
    the forgotten class's test images (`test_forget`).
    """
    model = evidence.subject[split].probabilities
    others = (other[split].probabilities for other in _incompetent(evidence))
    return _mean([1 - js_published_by_example(model, other).mean() for other in others])


def _incompetent(evidence: Evidence) -> tuple[BySplit, ...]:
    if not evidence.incompetent:
        raise ValueError("zrf needs the scores of at least one incompetent network")
    return evidence.incompetent


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
