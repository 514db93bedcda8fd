"""Is there anything to unlearn? Whether the original differs from the retrained model in what is to be forgotten."""

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


Rates = dict[str, list[Rate]]
"""By name, of the original and the retrained model."""


def premise(original: BySplit, retrained: BySplit, forget: str, *, rule_stays: bool) -> dict[str, Any] | None:
    """Say whether there is something to unlearn; None where the data have no biased rows.

    `about` is the rule, where all biased rows go: the original must be more biased on held-out rows. Where some are
    retained (`rule_stays`) they teach the rule to the retrained model too, and the premise is about the forget rows:
    the original must remember their answers. It `holds` where the original's 95 % intervals lie above the retrained
    model's. `degenerate` says that the retain set has one answer only: retrained is a constant.
    """
    if "is_biased" not in original["test"].extras:
        return None
    rates = _memory(original, retrained) if rule_stays else _rule(original, retrained)
    if rates is None:
        return None
    holds = all(before.low > after.high for before, after in rates.values())
    degenerate = len(np.unique(original["retain"].label)) == 1
    text = _about_rows(holds) if rule_stays else _about_rule(holds)
    text = text.format(found="; ".join(f"{name}: original {a}, retrained {b}" for name, (a, b) in rates.items()))
    if degenerate:
        text += (
            f". DEGENERATE: forgetting {forget} leaves one answer in the retain set, so the retrained model is a "
            "constant (try forget.fraction=0.5, which asks whether rows are forgotten, not the rule)"
        )
    values = {name: [vars(rate) for rate in pair] for name, pair in rates.items()}
    about = "forget rows" if rule_stays else "rule"
    return {"about": about, "holds": holds, "degenerate": degenerate, "text": text, "rates": values}


def _about_rule(holds: bool) -> str:
    if holds:
        return "the original is more biased on held-out rows than the retrained model ({found})"
    return (
        "PREMISE FAILS: the original is not clearly more biased on held-out rows than the retrained model ({found}); "
        "what follows says nothing about unlearning a bias"
    )


def _about_rows(holds: bool) -> str:
    scope = "biased rows are retained and teach the rule, so this run is about the forget rows alone: "
    if holds:
        return (
            scope
            + "the original gives their answers more often than the retrained model, which never saw them ({found})"
        )
    return (
        f"PREMISE FAILS: {scope}the original does not give their answers clearly more often than the retrained model, "
        "which never saw them ({found}); what follows says nothing about unlearning them"
    )


def _rule(original: BySplit, retrained: BySplit) -> Rates | None:
    """Biased answers to held-out biased rows, and flips where there are pairs of them; None without such rows."""
    biased = original["test"].extras["is_biased"].astype(bool)
    if not biased.any():
        return None
    models = [scores["test"] for scores in (original, retrained)]
    rates = {"biased answers": [Rate.of(_biased(scores, biased)) for scores in models]}
    if "legitimate" in original["test"].extras:
        changed = [flips(scores, legitimate=False) for scores in models]
        if len(changed[0]):
            rates["flip rate"] = [Rate.of(flipped) for flipped in changed]
    return rates


def _memory(original: BySplit, retrained: BySplit) -> Rates:
    """How often each model gives a forget row the answer that the original was trained to give."""
    models = [scores["forget"] for scores in (original, retrained)]
    return {"trained answers to forget rows": [Rate.of(scores.prediction == scores.label) for scores in models]}


def _biased(scores: Scores, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    given: NDArray[np.bool_] = scores.prediction[rows] == scores.extras["biased_option"][rows]
    return given
