"""A board without retrained models: what it shows instead of distances to them, in which order, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

HEADER = (
    "method", "retain accuracy", "forget accuracy", "test accuracy", "forget less held-out", "MIA AUC",
    "JS to original, retain", "seconds", "weights changed", "seeds",
)  # fmt: skip
METRICS = (
    ("accuracy", "retain"), ("accuracy", "forget"), ("accuracy", "test"), ("gap_held_out_accuracy", "forget"),
    ("mia_auc", "forget"), ("js_to_original", "retain"),
)  # fmt: skip
UNKNOWN = (
    "No model was retrained (reference.count=0). So nobody knows how a model that never saw the forget set answers it: "
    "whether a method forgets too little or too much, whether there was anything to forget, and what retraining would "
    "cost."
)
"""What cannot be known."""
NOTE = (
    f"{UNKNOWN} The methods are in alphabetical order, since nothing here could rank them. To know more: "
    "reference.count=1."
)
READING = (
    "Without a retrained model. forget less held-out: forget accuracy less the accuracy on held-out rows of the same "
    "kind. MIA AUC: how well the loss tells forget rows from these; .5 is chance. A model that never saw the forget "
    "rows has about 0 and .5, if held-out rows are of the same kind; but a model with 0 and .5 need not have "
    "forgotten. JS to original, retain: divergence between the outputs of the unlearned model and the original on "
    "retain, in bits; how far it moved where nothing was to be forgotten. seconds: of the unlearning, without "
    "validation."
)


def cells(
    name: str, variant: str, role: str, cell: Callable[[str, str, str, str], str], rest: Sequence[str]
) -> tuple[str, ...]:
    """Return a line as text, one entry per column of HEADER; `rest` are the last three."""
    return (name, *(cell(variant, role, metric, split) for metric, split in METRICS), *rest)


def without_empty(
    header: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return a table without the columns in which no row has anything."""
    kept = [place for place in range(len(header)) if place == 0 or any(row[place] for row in rows)]
    return tuple(header[place] for place in kept), tuple(tuple(row[place] for place in kept) for row in rows)
