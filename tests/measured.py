"""Metrics by name, for the tests of each module of them."""

from __future__ import annotations

from unlearnbench.evidence import Evidence
from unlearnbench.metrics import catalogue

METRICS = {each.name: each for each in catalogue()}


def value(name: str, evidence: Evidence, split: str) -> float | None:
    """Return one number of a model on a split."""
    return METRICS[name].compute(evidence, split)
