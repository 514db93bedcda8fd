"""The evaluations over seeds by name: a run records their settings, and a report computes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from unlearnbench.across.cell import Across
from unlearnbench.across.forgetting_score import ForgettingScoreAcross
from unlearnbench.across.klom import KlomAcross

KINDS: Mapping[str, type[Any]] = {"klom": KlomAcross, "forgetting_score": ForgettingScoreAcross}


def recorded(evaluations: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the settings of those evaluations that are over seeds, by name."""
    return {
        name: dataclasses.asdict(one)
        for name, one in evaluations.items()
        if name in KINDS and isinstance(one, KINDS[name])
    }


def asked(name: str, settings: Mapping[str, float]) -> Across | None:
    """Return the evaluation that a run recorded; None if this version does not know it, or not these settings."""
    if name not in KINDS:
        return None
    try:
        found: Across = TypeAdapter(KINDS[name]).validate_python(dict(settings))
    except ValidationError:
        return None
    return found
