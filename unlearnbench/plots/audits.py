"""The figure of an audit: what comes back while a model relearns, by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unlearnbench.evidence import Floats
from unlearnbench.plots.figures import ROLE_COLOURS, figure, plain_text, save, tidy

WORDS = {"forget": "half of forget", "retain": "retain rows", "benign": "rows that no model has seen"}


@plain_text()
def relearning(path: Path, steps: Sequence[int], curves: Mapping[str, Mapping[str, Floats]], name: str) -> None:
    """Draw curves (steps,) by what is trained on and by role; steps are evenly spaced, as they are on a log scale."""
    drawn = figure(5.6 * len(curves), 3.8)
    every = drawn.subplots(1, len(curves), sharey=True, squeeze=False).flatten()
    for axes, (on, by_role) in zip(every, curves.items(), strict=True):
        for role, curve in by_role.items():
            colour = ROLE_COLOURS[role.partition("_")[0]]
            line = ":" if role == "original" else "-"
            axes.plot(range(len(steps)), curve, line, marker=".", color=colour, label=role)
        axes.set_xticks(range(len(steps)), list(map(str, steps)))
        axes.set_ylim(-0.02, 1.02)
        shown = name if axes is every[0] else ""
        tidy(axes, f"Trained on {WORDS.get(on, on)}", x="steps", y=f"{shown} on the other half" if shown else "")
    every[0].legend(frameon=False)
    save(drawn, path)
