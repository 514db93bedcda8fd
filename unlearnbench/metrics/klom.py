"""KLoM: how far a row's margins over unlearned models are from those over retrained ones, row by row.

Georgiev et al. 2024, Attribute-to-Delete, arXiv:2410.23232; Easy Data Unlearning Bench 2026, arXiv:2602.16400.

    KLoM(x) = KL(P || Q), P and Q: histograms of the margins of x, over one joint range in 20 equal bins
    a bin that P has and Q has not counts 1e-5 for Q, so that KLoM ends at ln 1e5 = 11.5

"forward" is KL(unlearned || retrained), as Easy Data Unlearning Bench has it; "reverse" is KL(retrained || unlearned),
what data-unlearning-bench computes, whose run.py hands over its two arguments in the other order. Both drop the largest
margin of all, which np.digitize puts behind the last bin: where all unlearned models have it, KLoM is 0, as if perfect.
Here it is in the last bin, unless `published`.

Histograms of few models are rough: two samples of 16 from one distribution have a KLoM of 3.8. `klom_gaussian` takes
both for Gaussians, and needs far fewer.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from unlearnbench.evidence import Floats
from unlearnbench.metrics.confidence import LARGEST

Direction = Literal["forward", "reverse"]
EMPTY = 1e-5
"""What an empty bin of Q counts where P has some."""
CAP = math.log(1 / EMPTY)
"""The largest KLoM."""
NARROWEST = 0.01
"""The least standard deviation that `klom_gaussian` takes margins to have: a method may give one model every time."""


def klom(
    unlearned: Floats, oracle: Floats, bins: int = 20, direction: Direction = "forward", *, published: bool = False
) -> Floats:
    """Return the divergence of each row's margins, (n,), from margins (N, n) of unlearned and of retrained models.

    In [0, 11.5] nats; 0 is perfect, and out of reach: see it beside the value of retrained models against each other.
    """
    p, q = _ordered(unlearned, oracle, direction)
    low, high = np.minimum(p.min(axis=0), q.min(axis=0)), np.maximum(p.max(axis=0), q.max(axis=0))
    edges = np.linspace(low, np.where(low < high, high, low + 1), bins + 1)
    shares, others = (_shares(one, edges, published=published) for one in (p, q))
    return _divergence(shares, np.maximum(others, EMPTY))


def klom_gaussian(unlearned: Floats, oracle: Floats, direction: Direction = "forward") -> Floats:
    """Return the divergence of two Gaussians for each row, (n,), fitted to margins (N, n) of each kind of model.

        ln(s_q / s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2

    In [0, 11.5] nats, cut where `klom` ends; 0 is perfect, and out of reach. Needs two models of each kind.
    """
    p, q = _ordered(unlearned, oracle, direction)
    s_p, s_q = (np.maximum(one.std(axis=0, ddof=1), NARROWEST) for one in (p, q))
    apart = p.mean(axis=0) - q.mean(axis=0)
    nats: Floats = np.log(s_q / s_p) + (s_p**2 + apart**2) / (2 * s_q**2) - 0.5
    return np.clip(nats, 0.0, CAP)


def _ordered(unlearned: Floats, oracle: Floats, direction: Direction) -> tuple[Floats, Floats]:
    """Return P and Q, in float64 and cut at both ends."""
    pair = (unlearned, oracle) if direction == "forward" else (oracle, unlearned)
    p, q = (np.clip(one.astype(np.float64), -LARGEST, LARGEST) for one in pair)
    return p, q


def _shares(margins: Floats, edges: Floats, *, published: bool) -> Floats:
    """Return the share of the margins (N, n) in each bin, (bins, n); 0 everywhere where none is in a bin."""
    beyond = np.stack([(margins >= edge).sum(axis=0) for edge in edges])  # exact at the edges, as np.digitize is
    if not published:
        beyond[-1] = 0
    counts = (beyond[:-1] - beyond[1:]).astype(np.float64)
    total = counts.sum(axis=0)
    shares: Floats = counts / np.where(total > 0, total, 1)
    return shares


def _divergence(p: Floats, q: Floats) -> Floats:
    """Return the sum over bins of p ln(p / q), (n,), from shares (bins, n) of which q has none that is 0."""
    nats: Floats = np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / q), 0.0).sum(axis=0)
    return nats
