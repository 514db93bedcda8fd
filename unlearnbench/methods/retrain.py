"""Retraining from scratch on the retain set: exact unlearning, at the full price.

    theta = argmin over theta, from new random weights, of mean over retain of CE(theta; x, y)

The recipe is the original's. The seed is the method's own, so its distance to the retrained reference
shows the noise floor of the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearnbench.problem import Family, Problem


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Train a new model on the retain set alone."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "exact"
    year: ClassVar[int] = 0

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return a model that has never seen the forget set."""
        return problem.fit(problem.start(), problem.retain)
