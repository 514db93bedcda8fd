"""How methods look in the figures of a report: a colour and a marker by family, in every figure the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """A colour that colour-blind readers can tell apart (Okabe and Ito's, and two more), and a marker."""

    colour: str
    marker: str


OTHER = "other"
"""The family of a method that states none, such as a plugin's that is not there."""
FAMILIES = {
    "baseline": Look("#7A7A7A", "h"),
    "exact": Look("#000000", "P"),
    "retain training": Look("#0072B2", "o"),
    "ascent": Look("#D55E00", "^"),
    "relabelling": Look("#E69F00", "D"),
    "teachers": Look("#CC79A7", "v"),
    "weight surgery": Look("#56B4E9", "X"),
    "representation": Look("#8C5A2B", "<"),
    "prompt": Look("#5B4FA2", ">"),
    OTHER: Look("#B0B0B0", "p"),
}
SPLITS = {"retain": Look("#0072B2", "o"), "forget": Look("#D55E00", "D"), "test": Look("#7A7A7A", "s")}
RETRAINED = Look("#009E73", "*")
ORIGINAL = Look("#000000", "s")


def family(name: str, families: Mapping[str, str]) -> str:
    """Return a method's family, `OTHER` where it is none that has a look."""
    known = families.get(name, OTHER)
    return known if known in FAMILIES else OTHER


def points(axes: Axes, places: Mapping[str, tuple[float, float]], families: Mapping[str, str]) -> None:
    """Draw a marker for each method at its place, in the look of its family."""
    for kind, look in FAMILIES.items():
        mine = [place for name, place in places.items() if family(name, families) == kind]
        if mine:
            x, y = zip(*mine, strict=True)
            axes.scatter(
                x, y, s=42, color=look.colour, marker=look.marker, edgecolors="white", linewidths=0.5, zorder=3
            )


def legend(drawn: Figure, families: Collection[str], with_references: bool = True) -> None:
    """Name below a figure what its colours and markers are."""
    from matplotlib.lines import Line2D

    def handle(name: str, look: Look, size: int, face: str = "") -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=look.marker, color=look.colour, markersize=size, label=name,
            markerfacecolor=face or look.colour,
        )  # fmt: skip

    handles = [handle(name, look, 7) for name, look in FAMILIES.items() if name in families]
    if with_references:
        target = handle("retrained, the target", RETRAINED, 12)
        handles = [target, handle("original", ORIGINAL, 7, face="none"), *handles]
    drawn.legend(handles=handles, loc="outside lower left", ncols=6, frameon=False, fontsize=9, handletextpad=0.2)
