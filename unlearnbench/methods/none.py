"""Doing nothing: the row every table needs, since each gap is measured from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearnbench.problem import Family, Problem


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """Return the original as it is."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "baseline"
    year: ClassVar[int] = 0

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model unchanged."""
        return model
