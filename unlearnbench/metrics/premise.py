"""Is there anything to unlearn? Compare the original with the retrained model on what is to be forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearnbench.evidence import Array, BySplit, Scores
from unlearnbench.metrics.bias import counterfactuals, flips
from unlearnbench.metrics.intervals import FEWEST, difference_interval, rate_interval

Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Rate:
    """A share of n trials with its 95 % interval; those of one cluster are not independent."""

    value: float
    low: float
    high: float
    n: int
    clusters: int

    @classmethod
    def of(cls, hits: Hits, cluster: Array) -> Rate:
        """Count the hits (n,) bool, n > 0, of trials in clusters (n,)."""
        return cls(float(hits.mean()), *rate_interval(hits, cluster), len(hits), len(np.unique(cluster)))

    def __str__(self) -> str:
        among = f"{self.n}" if self.clusters == self.n else f"{self.n} in {self.clusters} clusters"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {among}"


@dataclass(frozen=True)
class Compared:
    """A rate of the original and of the retrained model on the same trials, and the interval of their difference."""

    original: Rate
    retrained: Rate
    low: float
    high: float

    @classmethod
    def of(cls, original: Hits, retrained: Hits, cluster: Array) -> Compared:
        """Compare the hits (n,) bool of both models, n > 0, of trials in clusters (n,)."""
        interval = difference_interval(original, retrained, cluster)
        return cls(Rate.of(original, cluster), Rate.of(retrained, cluster), *interval)

    def __str__(self) -> str:
        more = self.original.value - self.retrained.value
        difference = f"difference {more:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"
        return f"original {self.original}, retrained {self.retrained}, {difference}"

    def values(self) -> dict[str, Any]:
        """Return what result.json keeps."""
        return {**vars(self), "original": vars(self.original), "retrained": vars(self.retrained)}


def premise(original: BySplit, retrained: BySplit, forget: str, *, rule_stays: bool) -> dict[str, Any] | None:
    """Return whether there is something to unlearn; None where the data have no biased rows.

    `about` is the rule, where all biased rows go: the original must be more biased on held-out rows. Where some are
    retained (`rule_stays`) they teach the rule to the retrained model too, and the premise is about the forget rows:
    the original must remember their answers. It `holds` where the 95 % interval of each difference lies above 0, over
    clusters of rows that both models answered. `degenerate` says that the retain set has one answer only: retrained is
    a constant.
    """
    if "is_biased" not in original["test"].extras:
        return None
    rates = _memory(original, retrained) if rule_stays else _rule(original, retrained)
    if rates is None:
        return None
    holds = all(rate.low > 0 for rate in rates.values())
    degenerate = len(np.unique(original["retain"].label)) == 1
    text = _about_rows(holds) if rule_stays else _about_rule(holds)
    text = text.format(found="; ".join(f"{name}: {rate}" for name, rate in rates.items()))
    clusters = min(rate.original.clusters for rate in rates.values())
    if clusters < FEWEST:
        text += f". FEW CLUSTERS: there are {clusters}, too few for a reliable interval (try more of the data)"
    if degenerate:
        text += (
            f". DEGENERATE: forgetting {forget} leaves one answer in the retain set, so the retrained model is a "
            "constant (try forget.fraction=0.5, which asks whether rows are forgotten, not the rule)"
        )
    values = {name: rate.values() for name, rate in rates.items()}
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


def _rule(original: BySplit, retrained: BySplit) -> dict[str, Compared] | None:
    """Compare biased answers to held-out biased rows, and flips where rows come in pairs; None without such rows."""
    biased = original["test"].extras["is_biased"].astype(bool)
    if not biased.any():
        return None
    models = [scores["test"] for scores in (original, retrained)]
    cluster = original["test"].cluster
    before, after = (_biased(scores, biased) for scores in models)
    rates = {"biased answers": Compared.of(before, after, cluster[biased])}
    if "legitimate" in original["test"].extras:
        first, _ = counterfactuals(original["test"], legitimate=False)
        if len(first):
            before, after = (flips(scores, legitimate=False) for scores in models)
            rates["flip rate"] = Compared.of(before, after, cluster[first])
    return rates


def _memory(original: BySplit, retrained: BySplit) -> dict[str, Compared]:
    """Compare how often each model gives a forget row the answer that the original was trained to give."""
    models = [scores["forget"] for scores in (original, retrained)]
    before, after = (scores.prediction == scores.label for scores in models)
    return {"trained answers to forget rows": Compared.of(before, after, original["forget"].cluster)}


def _biased(scores: Scores, rows: Hits) -> Hits:
    given: Hits = scores.prediction[rows] == scores.extras["biased_option"][rows]
    return given
