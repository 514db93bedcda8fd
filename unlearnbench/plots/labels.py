"""Names beside points: each where it covers no other name and few points, joined to its point by a thin line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from unlearnbench.evidence import Floats
from unlearnbench.plots.figures import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 9
REACHES = (7, 13, 22, 34, 48, 66, 90, 120, 160)
"""How far from its point a name may be, in points (1/72 inch)."""
ANGLES = (0, 30, -30, 60, -60, 180, 150, -150, 90, -90, 120, -120)
LEADER = 13
"""From this distance on a line leads from the point to its name."""
COVERED = 7.0
"""What covering one point costs, in points of distance."""

Place = tuple[float, float]


class Box(NamedTuple):
    """A rectangle on the canvas, in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        """Return whether two boxes have a place in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def count(self, points: Floats) -> int:
        """Return how many points (n, 2) are inside."""
        x, y = points[:, 0], points[:, 1]
        inside = (x > self.left) & (x < self.right) & (y > self.bottom) & (y < self.top)
        return int(inside.sum())


class Candidate(NamedTuple):
    """A place for a name: its offset in points, its anchors, its box, and how far from the point it is."""

    offset: Place
    anchors: tuple[str, str]
    box: Box
    reach: float


@dataclass
class _Taken:
    """What is on the canvas: boxes of names, points of markers, and points along leading lines."""

    inside: Box
    markers: Floats
    boxes: list[Box] = field(default_factory=list)
    lines: list[Floats] = field(default_factory=list)

    def cost(self, one: Candidate, line: Floats) -> float:
        """Return how bad a candidate is; infinite where it covers a name, a line, or the frame."""
        box, frame = one.box, self.inside
        out = box.left < frame.left or box.right > frame.right or box.bottom < frame.bottom or box.top > frame.top
        if out or any(box.meets(other) or other.count(line) for other in self.boxes):
            return math.inf
        if any(box.count(other) for other in self.lines):
            return math.inf
        return one.reach + COVERED * box.count(self.markers)


def name_points(axes: Axes, names: Mapping[str, Place], crowd: Sequence[Place]) -> list[str]:
    """Write names at their points (x, y) in the data; return those that found a place.

    The layout must be final. `crowd` are all markers of the axes, which names had better not cover. The first names
    choose first.
    """
    from matplotlib.patheffects import withStroke

    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    scale = axes.figure.dpi / 72
    window = axes.get_window_extent(renderer)
    taken = _Taken(Box(window.x0, window.y0, window.x1, window.y1), axes.transData.transform(np.array(crowd)))
    placed = []
    for name, place in names.items():
        point = axes.transData.transform(place)
        text = axes.annotate(short(name), place, textcoords="offset points", xytext=(0, 0), fontsize=SIZE, zorder=6)
        size = text.get_window_extent(renderer)
        options = [(one, _line(point, one, scale)) for one in _candidates(point, (size.width, size.height), scale)]
        best, line = min(options, key=lambda option: taken.cost(*option))
        text.remove()
        if math.isinf(taken.cost(best, line)):
            continue
        taken.boxes.append(best.box)
        taken.lines.append(line)
        placed.append(name)
        leader = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            short(name), place, textcoords="offset points", xytext=best.offset, ha=best.anchors[0],
            va=best.anchors[1], fontsize=SIZE, zorder=6, annotation_clip=False,
            arrowprops=leader if best.reach >= LEADER else None,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip
    return placed


def _candidates(point: Floats, size: Place, scale: float) -> Iterator[Candidate]:
    """Yield the places for a name of this size, in pixels, around a point."""
    for reach in REACHES:
        for angle in ANGLES:
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            horizontal = "left" if across > 0.3 else "right" if across < -0.3 else "center"
            vertical = "bottom" if up > 0.3 else "top" if up < -0.3 else "center"
            left = point[0] + reach * across * scale - size[0] * {"left": 0, "right": 1, "center": 0.5}[horizontal]
            bottom = point[1] + reach * up * scale - size[1] * {"bottom": 0, "top": 1, "center": 0.5}[vertical]
            box = Box(left - 1, bottom - 1, left + size[0] + 1, bottom + size[1] + 1)
            yield Candidate((reach * across, reach * up), (horizontal, vertical), box, reach)


def _line(point: Floats, one: Candidate, scale: float) -> Floats:
    """Return points along the line from a point to its name, (n, 2); only the end where no line is drawn."""
    share = np.linspace(0.15, 0.95, 12) if one.reach >= LEADER else np.array([0.95])
    line: Floats = point + share[:, None] * scale * np.array(one.offset)
    return line
