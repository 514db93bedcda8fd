"""What numbers say in words: is unlearned nearer to retrained than the original was, and were both trained well?

A model is away from retrained by the difference of their values on a split. Unlearning brought it nearer there where
that has shrunk by more than the noise floor, and by more than one row of the split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from unlearnbench.metrics.equivalence import ALPHA, ROUNDING, Differences, holm

Moved = Literal["nearer", "farther", ""]
LEARNT = 0.7
"""With less of retain right than this a model was not trained to the end, and training on makes it better."""
LONGER = "Try: train longer (train.epochs)."
PASSED = f"A method that trains on can pass retrained: its gap then compares training. {LONGER}"


def least(floor: float, rows: int, *, is_rate: bool) -> float:
    """Return how much a distance must change to count: the noise floor, where known, and of a share one row."""
    return max(0.0 if math.isnan(floor) else floor, 1 / rows if is_rate and rows else 0.0)


def moved(shrunk: Mapping[str, Differences], least: float) -> dict[str, Moved]:
    """Return by method whether its distance to retrained shrank or grew by more than `least`.

    `shrunk` is by how much it shrank. One seed is taken as it is. Over several, t-tests must show it, at .05 after
    Holm's correction for the number of methods.
    """
    p = [min(2 * min(of.above(least), of.above(-least, -1)), 1.0) if of.n > 1 else math.nan for of in shrunk.values()]
    found: dict[str, Moved] = {}
    for (name, of), adjusted in zip(shrunk.items(), holm(p), strict=True):
        shown = of.n == 1 or adjusted <= ALPHA
        more = abs(of.mean) > least + ROUNDING
        found[name] = "" if not (shown and more) else "nearer" if of.mean > 0 else "farther"
    return found


def training(name: str, original: float, retrained: float, floor: float, margin: float, *, is_rate: bool) -> list[str]:
    """Return whether original and retrained, which both saw retain, answer it equally well, and well at all."""
    values = f"{name} on retain {original:.3f} and {retrained:.3f}"
    known = {"the noise floor": floor, "the margin": margin}
    limits = {what: limit for what, limit in known.items() if not math.isnan(limit)}
    equal = abs(original - retrained) <= max(limits.values(), default=0.0)
    if equal and is_rate and max(original, retrained) < LEARNT:
        return [f"Original and retrained were both hardly trained: {values}. {PASSED}"]
    few = hardly(original, retrained) if is_rate else []
    if equal:
        return [f"Original and retrained were trained about equally well: {values}.", *few]
    farther = " and ".join(f"{what} ({limit:.3f})" for what, limit in limits.items())
    than = f", farther apart than {farther}" if farther else ""
    words = f"Original and retrained were not trained equally well: {values}{than}. So a gap to retrained is not about "
    return [f"{words}forgetting alone.", *few]


def hardly(original: float, retrained: float = math.nan) -> list[str]:
    """Return what to say of models that get few of the rows right that they were trained on."""
    few = {name: value for name, value in (("The original", original), ("Retrained", retrained)) if value < LEARNT}
    if len(few) == 2:
        return [f"They get only {original:.3f} and {retrained:.3f} right of what they were trained on. {PASSED}"]
    end = LONGER if math.isnan(retrained) else PASSED
    return [f"{who} gets only {value:.3f} right of what it was trained on. {end}" for who, value in few.items()]


def passes(name: str, retain: float, test: float, limit: float, where: str = "test") -> str:
    """Return what to say of a method that gets more right than retrained on retain and on test; "" where it does not.

    `where` is the split of held-out rows of the kind that is retained. No forgetting makes a model better on what it
    keeps. Then the method trained for longer than retrained did.
    """
    if not (retain > limit and test > limit):
        return ""
    return (
        f"{name} gets more right than retrained, on retain by {retain:.3f} and on {where} by {test:.3f}: it was "
        "trained further, so its gap is about training, not about forgetting."
    )
