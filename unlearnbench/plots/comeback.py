"""The figure of a stream: what each request forgot, asked again after every later one, and the model's utility."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.metrics.measure import Row
from unlearnbench.plots.figures import PALETTE, ROLE_COLOURS, figure, plain_text, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = dict[tuple[str, str, str], dict[int, float]]
"""Values by role, split and metric, then by request."""
RIGHT = ("accuracy", "exact_memorisation")
LABELLED = 10
"""Up to this many requests each has a line in the legend."""


@plain_text()
def draw(folder: Path, measured: Sequence[tuple[int, Row]]) -> None:
    """Write plots/comeback.png where rows of eval=comeback are among those measured, given with their request."""
    values: Values = {}
    for request, row in measured:
        values.setdefault((row.role, row.split, row.metric), {})[request] = row.value
    name = next((one for one in RIGHT if ("unlearned", "forget_1", one) in values), None)
    if name is None or ("unlearned", "retain", "utility") not in values:
        return
    drawn = figure(11, 3.8)
    forgotten, useful = drawn.subplots(1, 2, width_ratios=(2, 1))
    _forgotten(forgotten, values, name)
    utility = values["unlearned", "retain", "utility"]
    useful.plot(*zip(*utility.items(), strict=True), marker=".", color=ROLE_COLOURS["unlearned"], label="one by one")
    for request, value in values.get(("unlearned_at_once", "retain", "utility"), {}).items():
        useful.plot([request], [value], "x", color="black", label="all at once")
    useful.axhline(1.0, color=ROLE_COLOURS["original"], linewidth=1, linestyle=":")
    useful.set_ylim(0, 1.05 * max(1.0, *utility.values()))
    useful.legend(frameon=False, fontsize=8)
    tidy(useful, "What is left of retain and test", x="request", y="share of the original's")
    for axes in (forgotten, useful):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    save(drawn, folder / "plots" / "comeback.png")


def _forgotten(axes: Axes, values: Values, name: str) -> None:
    """Draw a curve for each request, from the state after it; at their ends what the controls know."""
    count = len(values["unlearned", "forget_1", name])
    for number in range(1, count + 1):
        split, colour = f"forget_{number}", PALETTE[(number - 1) % len(PALETTE)]
        curve = values["unlearned", split, name]
        label = f"request {number}" if count <= LABELLED else None
        axes.plot(*zip(*curve.items(), strict=True), marker="o", markersize=4, color=colour, label=label)
        axes.plot([number - 0.12], [values["original", split, name][number]], "_", color=colour, markersize=12)
        for role, mark in (("retrained", "*"), ("unlearned_at_once", "x")):
            known = values.get((role, split, name), {}).get(count)
            if known is not None:
                axes.plot([count + 0.25], [known], mark, color=colour, markersize=8)
    marks = {"_": "original", "*": "retrained without all", "x": "all at once"}
    for mark, text in marks.items():
        axes.plot([], [], mark, color="grey", label=text)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    tidy(axes, "What each request forgot, after it and after later ones", x="request", y=name.replace("_", " "))
