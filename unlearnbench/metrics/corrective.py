"""Corrective unlearning: does a manipulation still work?"""

from __future__ import annotations

from unlearnbench.evidence import Integers


def attack_success(prediction: Integers, label: Integers, wanted: Integers) -> float | None:
    """Return the share of rows that are called what the manipulation wants, of those that are something else.

    In [0, 1]; perfect is the value of a model that never saw a manipulated row, near 0. None where no row is aimed at.
    All are (n,); `wanted` is -1 for rows that the manipulation leaves alone.
    """
    aimed = (wanted >= 0) & (wanted != label)
    return float((prediction == wanted)[aimed].mean()) if aimed.any() else None
