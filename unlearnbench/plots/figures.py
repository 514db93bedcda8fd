"""What all figures share: colours of roles, a canvas without a display, and saving."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unlearnbench.files.escapes import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLE_COLOURS = {"original": "#0072B2", "retrained": "#009E73", "unlearned": "#D55E00"}
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
PALETTE = ("#D55E00", "#0072B2", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#F0E442", "#000000", "#009E73")
NAME = 40
"""The most characters of a name in a figure."""


@contextmanager
def plain_text() -> Iterator[None]:
    """Draw all text in the block literally: a dollar sign in a name does not start a formula."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        yield


def short(name: str, letters: int = NAME) -> str:
    """Return a name on one line and shortened to fit into a figure."""
    name = printable(name)
    return name if len(name) <= letters else name[: letters - 1] + "…"


def figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout=layout, dpi=110)
    FigureCanvasAgg(drawn)
    return drawn


def tidy(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Set the title and labels, and remove the top and right sides of the frame."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save(drawn: Figure, path: Path) -> None:
    """Write the figure as a PNG without a date, so that equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, bbox_inches="tight", pad_inches=0.08, metadata={"Software": "unlearnbench"})
