"""What a reader must know before the numbers: is there anything to forget, and can the held-out rows tell?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from unlearnbench.evidence import BySplit

FEW_ROWS = 20
"""With fewer forget rows than this, a run says how much of the accuracy one row is."""
LIKE_CHANCE = (0.3, 0.7)
"""Where mia_auc of a model that never saw the forget rows lies, if held-out rows are like them."""


def few_rows(original: BySplit) -> Iterator[str]:
    """Yield what to say of a forget set of few rows."""
    count = len(original["forget"])
    if count == 1:
        yield "forget has 1 row: its accuracy is all or nothing"
    elif count < FEW_ROWS:
        name, _ = original["forget"].right
        yield f"forget has {count} rows: one row is {1 / count:.3f} of its {name.replace('_', ' ')}"


def unlike(retrained_auc: float) -> Iterator[str]:
    """Yield what to say where the mia_auc of the retrained model is far from chance."""
    low, high = LIKE_CHANCE
    if retrained_auc < low or retrained_auc > high:
        yield (
            f"mia_auc of the retrained model is {retrained_auc:.3f}, though it never saw the forget rows: the held-out "
            "rows are not like the forget rows, so mia tells little"
        )


def little_to_forget(
    original: BySplit, retrained: Sequence[BySplit], *, whole_class: bool, checkpoint: bool
) -> Iterator[str]:
    """Yield "PREMISE FAILS" where the original does not know the forget rows better than the retrained models do.

    For forgotten classes that is by the share of rows right, else by the mean loss.
    """
    if not retrained:
        return
    if whole_class:
        name, right = original["forget"].right
        mine, theirs = float(right.mean()), fmean(float(one["forget"].right[1].mean()) for one in retrained)
        fails = mine <= theirs
    else:
        name = "mean loss"
        mine = float(original["forget"].loss.mean())
        theirs = fmean(float(one["forget"].loss.mean()) for one in retrained)
        fails = mine >= theirs
    if fails:
        ask = ", or ask whether model.checkpoint is the right file" if checkpoint else ""
        yield (
            "PREMISE FAILS: the original does not know the forget rows better than the retrained model "
            f"({name.replace('_', ' ')} {mine:.3f} against {theirs:.3f}): there is little to forget. "
            f"Try: train longer (train.epochs){ask}"
        )


def prepared(seconds: float) -> Iterator[str]:
    """Yield what to say of a method that spends seconds before anybody asks it to forget."""
    if seconds:
        yield "cost_ratio is of the request alone: preparation_seconds, spent before it, are left out"
