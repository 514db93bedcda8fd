"""Trackio: an SQLite file a project. `trackio show --project unlearnbench` shows it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from unlearnbench.track.tracked import Tracked, need

FOLDER = "TRACKIO_DIR"
"""Trackio's environment variable for where it keeps its files."""


@dataclass(frozen=True, kw_only=True)
class Trackio:
    """Writes below outputs/track/trackio unless TRACKIO_DIR says where; `space` is a Hugging Face space to send to."""

    project: str
    space: str | None

    def check(self) -> None:
        """Raise UserError where trackio is not installed."""
        need("trackio", "trackio")

    def send(self, run: Tracked, place: Path) -> str:
        """Write or send a run, and return where it is."""
        place.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(FOLDER, str(place.resolve()))  # read when trackio is imported
        import trackio
        from trackio.utils import TRACKIO_DIR

        made = trackio.init(
            project=self.project,
            name=run.name,
            space_id=self.space,
            config={**run.settings, **{f"tag.{name}": value for name, value in run.tags.items()}},
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        try:
            by_epoch: dict[int, dict[str, float]] = {}
            for name, value, epoch in run.points():
                by_epoch.setdefault(epoch, {})[name] = value
            for epoch in sorted(by_epoch):
                made.log(by_epoch[epoch], step=epoch)
            figures = {f"plots/{figure.stem}": trackio.Image(figure) for figure in run.figures}
            made.log({**run.final, **figures}, step=max(by_epoch, default=0) + 1)
        finally:
            trackio.finish()
        return self.space or str(TRACKIO_DIR)  # elsewhere than `place` where trackio was imported before
