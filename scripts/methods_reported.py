"""The table of published numbers beside ours, for a part of docs/results/methods.md whose preset has some."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

SPLITS = ("retain", "forget", "test")
Accuracy = Callable[[str, str, str | None], float]
"""Our mean over seeds of an accuracy: by role, split and, of an unlearned model, method; NaN where it is not known."""


def beside(preset: Path, forget: str, ours: Accuracy, gaps: Mapping[str, float]) -> str:
    """Return the table for a kind of forget set, such as "random"; "" where the preset reports nothing on it.

    `gaps` are our methods' mean distances to their retrained models; one that left no numbers is shown as nan.
    """
    entries = [
        one
        for one in yaml.safe_load(preset.read_text()).get("reported", ())
        if one["forget"] == forget and one["metric"] == "accuracy"
    ]
    theirs: dict[tuple[str, str | None], dict[str, float]] = {}
    for one in entries:
        theirs.setdefault((one["role"], one.get("method")), {})[one["split"]] = one["value"]
    if not theirs:
        return ""
    target = theirs["retrained", None]
    rows = []
    for (role, method), reported in theirs.items():
        measured = {split: ours(role, split, method) for split in SPLITS}
        pairs = [f"{reported[split]:.3f} / {measured[split]:.3f}" for split in SPLITS]
        if method is not None:
            apart = sum(abs(reported[split] - target[split]) for split in SPLITS) / len(SPLITS)
            pairs.append(f"{apart:.3f} / {gaps.get(method, math.nan):.3f}")
        rows.append([f"`{method}`" if method else f"*{role}*", *pairs, *[""] * (len(SPLITS) + 1 - len(pairs))])
    rows.sort(key=lambda row: row[-1])
    titles = ["reported / measured", *(f"{split} accuracy" for split in SPLITS), "gap to retrained"]
    text = "\n".join(f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows))
    return f"{text}\n\nReported: {', '.join(sorted({one['source'] for one in entries}))}.\n"
