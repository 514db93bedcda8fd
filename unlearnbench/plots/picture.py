"""A figure of a report: its files, what it shows in words, and what to see in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = 128
"""A PNG has a palette of so many colours: a third of the bytes, and no difference to the eye."""
DPI = 150
WIDTH = 11.3
"""The width of a report's figures in inches: 9 points are 14 pixels where the page is 1,240 pixels wide."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure that was drawn: its PNG, beside which are an SVG and a PDF; an alternative text, and a caption."""

    file: Path
    alt: str
    caption: str

    @property
    def files(self) -> tuple[Path, ...]:
        """The figure in each format."""
        return tuple(self.file.with_suffix(end) for end in (".png", ".svg", ".pdf"))


def save(drawn: Figure, picture: Picture) -> None:
    """Write the figure, whose layout is final, as PNG, SVG and PDF without dates: equal figures are equal files."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from PIL import Image

    png, svg, pdf = picture.files
    with matplotlib.rc_context({"svg.hashsalt": "unlearnbench", "pdf.fonttype": 42}):
        drawn.set_dpi(72)
        FigureCanvasSVG(drawn).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
        FigureCanvasPdf(drawn).print_pdf(pdf, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
    drawn.set_dpi(DPI)
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    pixels.quantize(COLOURS, dither=Image.Dither.NONE).save(png, optimize=True)
