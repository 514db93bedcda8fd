"""How far a model's outputs are from a retrained model's, or from an incompetent network's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from unlearnbench.evidence import Evidence, Floats, Scores
from unlearnbench.metrics import COMPARED, OPTIONS, UNBOUNDED, Number, metric

LOWEST_LOG = float(np.log(np.finfo(np.float64).tiny))  # -708.4: what a probability of exactly 0 counts as
PUBLISHED_CLAMP = float(np.finfo(np.float32).tiny)  # 1.2e-38: below it the published float32 code goes to infinity


def finite(log_probabilities: Floats) -> Floats:
    """Replace log 0 by the log of the smallest normal float64, so that no divergence or loss is infinite."""
    values: Floats = np.where(np.isneginf(log_probabilities), LOWEST_LOG, log_probabilities)
    return values


def relative_entropy(p: Floats, q: Floats) -> Floats:
    """Return KL(p || q) in nats per row, (n,); rows (n, c) are probabilities, q > 0 where p matters, 0 log 0 is 0.

    scipy.special.rel_entr rounds differently, which changes js_to_retrained in its last digit.
    """
    ratio = np.divide(p, q, out=np.ones_like(p), where=(p > 0) & (q > 0))
    nats: Floats = (p * np.log(ratio)).sum(axis=1)
    return nats


def kl_nats(log_p: Floats, log_q: Floats) -> Floats:
    """Return KL(p || q) in nats per row, (n,), from log-probabilities (n, c); options that p excludes are left out.

    An option that q excludes outright (-inf) though p allows it counts as LOWEST_LOG. scipy.special.rel_entr takes
    probabilities, and is infinite where those of q underflow.
    """
    p = np.exp(log_p)
    terms = p * np.subtract(log_p, finite(log_q), out=np.zeros_like(log_p), where=p > 0)
    nats: Floats = np.maximum(terms.sum(axis=1), 0.0)
    return nats


def js_bits(p: Floats, q: Floats) -> Floats:
    """Return the Jensen-Shannon divergence in bits per row, (n,) in [0, 1]; rows (n, c) are probabilities (Lin 1991).

    scipy.spatial.distance.jensenshannon is its root, and squaring that changes the last digit.
    """
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


Distance = Callable[[Scores, Scores], Floats]

DISTANCES: dict[str, Distance] = {
    "kl_from_retrained": lambda model, other: kl_nats(other.log_probabilities, model.log_probabilities),
    "js_to_retrained": lambda model, other: js_bits(model.probabilities, other.probabilities),
    "js_published": lambda model, other: js_published_by_example(model.probabilities, other.probabilities),
    "activation_distance": lambda model, other: np.linalg.norm(model.probabilities - other.probabilities, axis=1),
}
"""How far each row (n,) of a model's scores is from another model's."""


@metric(
    Number(
        "kl_from_retrained",
        "Mean KL(retrained || model) of the softmax outputs, in nats",
        unit="nats",
        high=UNBOUNDED,
        source="Kullback and Leibler 1951; Golatkar, Achille, Soatto 2020, arXiv:1911.04933",
    ),
    Number(
        "js_to_retrained",
        "Mean Jensen-Shannon divergence (bits) between the softmax outputs of model and retrained",
        unit="bits",
        high=1.0,
        source="Lin 1991, Divergence measures based on the Shannon entropy",
    ),
    Number(
        "js_published",
        "Divergence to retrained as Chundawat's code computes it, for published tables only",
        unit="nats",
        high=21.5,
        source="Chundawat et al. 2023, github.com/vikram2000b/bad-teaching-unlearning, metrics.py",
    ),
    Number(
        "activation_distance",
        "Mean L2 distance between the softmax outputs of model and retrained",
        unit="distance",
        high=1.4142135623730951,
        source="Golatkar et al. 2021, arXiv:2012.13431; Chundawat et al. 2023, arXiv:2205.08096",
    ),
    splits=COMPARED,
    low=0.0,
    ideal=0.0,
    relative=True,
    needs=(OPTIONS,),
)
def to_retrained(evidence: Evidence, split: str) -> dict[str, float]:
    """Return the mean distances between the outputs of model and retrained, and their mean over the references.

    At least 0, lower is better, 0 is perfect: the retrained model's outputs. js_published is KL from the mixture, in
    nats, divided by the number of classes. Its authors' is of the forgotten class's test images (`test_forget`), and
    has no upper bound; here it is at most 21.5 (two options).
    """
    model, others = evidence.subject[split], [reference[split] for reference in evidence.references]
    return {name: _mean(of(model, other).mean() for other in others) for name, of in DISTANCES.items()}


@metric(
    Number(
        "zrf",
        "Zero retrain forgetting: 1 - mean JS divergence (bits) to a random-weight network",
        low=0.0,
        source="Chundawat et al. 2023, arXiv:2205.08096, with the true JS divergence in bits",
    ),
    Number(
        "zrf_published",
        "ZRF as its authors' code computes it, to compare with published tables only",
        low=-20.5,
        source="Chundawat et al. 2023, github.com/vikram2000b/bad-teaching-unlearning, metrics.py",
    ),
    splits=("forget", "test_forget"),
    unit="score",
    high=1.0,
    needs=(OPTIONS,),
)
def to_incompetent(evidence: Evidence, split: str) -> dict[str, float]:
    """Return 1 - the divergence to networks that never learnt anything, and its mean over them.

    zrf is in [0, 1], zrf_published (1 - `js_published`) in [-20.5, 1]; 1 is the output of such a network. Perfect is
    the retrained model's value, usually below 1. The authors' number is of the forgotten class's test images
    (`test_forget`), and has no lower bound.
    """
    if not evidence.incompetent:
        raise ValueError("zrf needs the scores of at least one incompetent network")
    model, others = evidence.subject[split], [network[split] for network in evidence.incompetent]
    measured = {"zrf": DISTANCES["js_to_retrained"], "zrf_published": DISTANCES["js_published"]}
    return {name: _mean(1 - of(model, other).mean() for other in others) for name, of in measured.items()}


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
