"""The table of published numbers beside ours, for a part of docs/results/methods.md whose preset has some."""

from collections.abc import Callable
from pathlib import Path

import yaml

SPLITS = ("retain", "forget", "test")
Ours = Callable[[str, str, str | None], float]
"""Our mean over seeds of an accuracy: by role, split and, of an unlearned model, method; NaN where it is not known."""


def beside(preset: Path, forget: str, ours: Ours) -> str:
    """Return the table for a kind of forget set, such as "random"; "" where the preset reports nothing on it."""
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
    target = theirs["retrained", None], {split: ours("retrained", split, None) for split in SPLITS}
    rows = []
    for (role, method), reported in theirs.items():
        measured = {split: ours(role, split, method) for split in SPLITS}
        pairs = [f"{reported[split]:.3f} / {measured[split]:.3f}" for split in SPLITS]
        if role == "unlearned":
            pairs.append(f"{_gap(reported, target[0]):.3f} / {_gap(measured, target[1]):.3f}")
        rows.append([f"`{method}`" if method else f"*{role}*", *pairs, *[""] * (len(SPLITS) + 1 - len(pairs))])
    rows.sort(key=lambda row: row[-1])
    titles = ["reported / measured", *(f"{split} accuracy" for split in SPLITS), "gap to retrained"]
    text = "\n".join(f"| {' | '.join(row)} |" for row in (titles, ["---"] * len(titles), *rows))
    return f"{text}\n\nReported: {', '.join(sorted({one['source'] for one in entries}))}.\n"


def _gap(values: dict[str, float], retrained: dict[str, float]) -> float:
    """Return the mean distance to the retrained model of the same hands, over the splits."""
    return sum(abs(values[split] - retrained[split]) for split in SPLITS) / len(SPLITS)
