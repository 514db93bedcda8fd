"""TensorBoard: event files, a folder a run. `tensorboard --logdir outputs/track/tensorboard` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlearnbench.files import leftovers
from unlearnbench.track.tracked import Tracked, need


@dataclass(frozen=True, kw_only=True)
class Tensorboard:
    """Writes event files below `folder`; null: outputs/track/tensorboard."""

    folder: Path | None

    def check(self) -> None:
        """Raise UserError where tensorboard is not installed."""
        need("tensorboard", "tensorboard")

    def send(self, run: Tracked, place: Path) -> str:
        """Write a run's event files, in place of earlier ones of the same run, and return their folder."""
        from PIL import Image
        from torch.utils.tensorboard import SummaryWriter

        folder = (self.folder or place) / run.name
        leftovers.remove(folder)
        with SummaryWriter(str(folder)) as writer:
            for name, value, epoch in run.points():
                writer.add_scalar(name, value, epoch)
            for name, value in run.final.items():
                writer.add_scalar(name, value, 0)
            for figure in run.figures:
                with Image.open(figure) as image:
                    writer.add_image(f"plots/{figure.stem}", np.asarray(image.convert("RGB")), dataformats="HWC")
            for title, values in (("tags", run.tags), ("settings", run.settings)):
                writer.add_text(title, "\n".join(f"    {name}: {value}" for name, value in values.items()))
        return str(folder)
