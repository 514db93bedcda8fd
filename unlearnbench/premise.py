"""Is there anything to unlearn? Whether the original is biased on held-out data, and the retrained model is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evidence import BySplit, Scores
from unlearnbench.metrics.bias import flips


@dataclass(frozen=True)
class Rate:
    """A share of n trials with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, hits: NDArray[np.bool_]) -> Rate:
        """Count the hits (n,) bool, n > 0."""
        n, p, z = len(hits), float(hits.mean()), 1.959963984540054
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return cls(p, max(centre - half, 0.0), min(centre + half, 1.0), n)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.n}"


def premise(original: BySplit, retrained: BySplit, forget: str) -> dict[str, Any] | None:
    """Say whether the original is biased on held-out rows and the retrained model is less so; None without such rows.

    Biased means: it gives the biased answer to held-out rows that would be trained with it, and (where there are
    counterfactual pairs) its answers flip with demographic words. It holds where the original's 95 % intervals lie
    above the retrained model's. `degenerate` says that the retain set has one answer only: retrained is a constant.
    """
    if "is_biased" not in original["test"].extras:
        return None
    biased = original["test"].extras["is_biased"].astype(bool)
    if not biased.any():
        return None
    rates = {"biased answers": [Rate.of(_biased(scores["test"], biased)) for scores in (original, retrained)]}
    if "legitimate" in original["test"].extras:
        changed = [flips(scores["test"], legitimate=False) for scores in (original, retrained)]
        if len(changed[0]):
            rates["flip rate"] = [Rate.of(flipped) for flipped in changed]
    holds = all(before.low > after.high for before, after in rates.values())
    answers = np.unique(original["retain"].label)
    degenerate = len(answers) == 1
    found = "; ".join(f"{name}: original {a}, retrained {b}" for name, (a, b) in rates.items())
    text = (
        f"the original is biased on held-out rows and the retrained model is not ({found})"
        if holds
        else f"PREMISE FAILS: the original is not more biased on held-out rows than the retrained model ({found}); "
        "what follows says nothing about unlearning a bias"
    )
    if degenerate:
        text += (
            f". DEGENERATE: forgetting {forget} leaves one answer in the retain set, so the retrained model is a "
            "constant (try forget.fraction=0.5)"
        )
    values = {name: [vars(rate) for rate in pair] for name, pair in rates.items()}
    return {"holds": holds, "degenerate": degenerate, "text": text, "rates": values}


def _biased(scores: Scores, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    given: NDArray[np.bool_] = scores.prediction[rows] == scores.extras["biased_option"][rows]
    return given
