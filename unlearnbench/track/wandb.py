"""Weights & Biases: offline, a folder a run, which `wandb sync FOLDER` uploads when you want it to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlearnbench.track.tracked import Tracked, need


@dataclass(frozen=True, kw_only=True)
class Wandb:
    """Writes below outputs/track/wandb, or with mode=online sends to the account that `wandb login` knows."""

    mode: Literal["offline", "online"]
    project: str
    entity: str | None

    def check(self) -> None:
        """Raise UserError where wandb is not installed."""
        need("wandb", "wandb")

    def send(self, run: Tracked, place: Path) -> str:
        """Write or send a run, and return where it is."""
        import wandb

        place.mkdir(parents=True, exist_ok=True)
        with wandb.init(
            mode=self.mode,
            project=self.project,
            entity=self.entity,
            dir=str(place),
            name=run.name,
            config={**run.settings, "unlearnbench": dict(run.tags)},
            tags=[f"{name}:{run.tags[name]}"[:64] for name in ("method", "model", "dataset", "forget", "seed")],
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        ) as made:
            for model, rows in run.curves.items():
                made.define_metric(f"training/{model}/*", step_metric=f"training/{model}/epoch")
                for row in rows:
                    made.log({f"training/{model}/{what}": value for what, value in row.items()})
            made.log({f"plots/{figure.stem}": wandb.Image(str(figure)) for figure in run.figures})
            made.summary.update(dict(run.final))
            return str(made.dir if self.mode == "offline" else made.url)
