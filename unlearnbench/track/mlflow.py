"""MLflow: an SQLite file and a folder of figures. `mlflow ui --backend-store-uri sqlite:///FILE` shows them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.track.tracked import Tracked, need

LONGEST = 5000
"""Characters of a parameter or tag; MLflow refuses longer ones."""
PARAMETERS, METRICS = 100, 1000
"""How many of each MLflow takes at once."""


@dataclass(frozen=True, kw_only=True)
class Mlflow:
    """Writes into a store: `uri` is a server's or a file's (sqlite:///FILE); null: outputs/track/mlflow/mlflow.db."""

    uri: str | None
    experiment: str

    def check(self) -> None:
        """Raise UserError where mlflow is not installed."""
        need("mlflow", "mlflow")

    def send(self, run: Tracked, place: Path) -> str:
        """Store a run in place of an earlier one of the same folder, and return the store's address."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        uri = self.uri or f"sqlite:///{place.resolve()}/mlflow.db"
        client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(client, place)
        mine = f"tags.folder = '{run.tags['folder']}'"
        for old in client.search_runs([experiment], mine) if "'" not in run.tags["folder"] else ():
            client.delete_run(old.info.run_id)
        made = client.create_run(experiment, run_name=run.name).info.run_id
        tags = [RunTag(name, value[:LONGEST]) for name, value in run.tags.items()]
        parameters = [Param(name, str(value)[:LONGEST]) for name, value in run.settings.items()]
        metrics = [Metric(name, value, 0, 0) for name, value in run.final.items()]
        metrics += [Metric(name, value, 0, epoch) for name, value, epoch in run.points()]
        client.log_batch(made, tags=tags)
        for start in range(0, len(parameters), PARAMETERS):
            client.log_batch(made, params=parameters[start : start + PARAMETERS])
        for start in range(0, len(metrics), METRICS):
            client.log_batch(made, metrics=metrics[start : start + METRICS])
        for figure in run.figures:
            client.log_artifact(made, str(figure), "plots")
        client.set_terminated(made)
        return uri

    def _experiment(self, client: Any, place: Path) -> str:
        """Return the id of the experiment, made where it is not there; figures of a local store lie beside it."""
        known = client.get_experiment_by_name(self.experiment)
        if known is not None:
            return str(known.experiment_id)
        files = None if self.uri else (place.resolve() / "files").as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=files))
