"""A finished run as trackers are told of it: read from its folder, so that a run that was there before has it too."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unlearnbench.errors import UserError
from unlearnbench.results.result import read_result
from unlearnbench.results.rows import read_metrics

TAGS = ("method", "model", "dataset", "forget", "seed", "run_id", "experiment")
AMOUNTS = ("seconds", "cpu_seconds", "gpu_seconds", "peak_mib", "examples_seen")
RATIOS = ("cost_ratio", "compute_ratio", "examples_ratio")
_ODD = re.compile(r"[^\w\-./]", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A finished run: its name, tags, settings and numbers.

    `settings` are the values of the configuration by dotted path. `final` has the metrics as role/metric/split, and
    costs as cost/what/model. `curves` have a row per epoch for each model that was trained. `figures` are PNG files.
    """

    folder: Path
    name: str
    tags: Mapping[str, str]
    settings: Mapping[str, Any]
    final: Mapping[str, float]
    curves: Mapping[str, tuple[Mapping[str, float], ...]]
    figures: tuple[Path, ...]

    def points(self) -> Iterator[tuple[str, float, int]]:
        """Yield the numbers of the curves with their names and epochs, those of one model after the other."""
        for model, rows in self.curves.items():
            for row in rows:
                for what, value in row.items():
                    if what != "epoch":
                        yield plain(f"training/{model}/{what}"), value, int(row["epoch"])


def tracked(folder: Path) -> Tracked:
    """Read a finished run from its folder."""
    result = read_result(folder)
    config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"), resolve=False)
    curves = {
        str(name): tuple({what: value for what, value in row.items() if math.isfinite(value)} for row in rows)
        for name, rows in result["curves"].items()
        if rows
    }
    return Tracked(
        folder=folder.resolve(),
        name=folder.name,
        tags={name: str(result[name]) for name in TAGS if result[name] != ""} | {"folder": str(folder.resolve())},
        settings=dict(_leaves(config, "")),
        final={plain(name): value for name, value in (*_metrics(folder), *_costs(result)) if math.isfinite(value)},
        curves=curves,
        figures=tuple(sorted((folder / "plots").glob("*.png"))),
    )


def plain(name: str) -> str:
    """Return a name without the characters that a tracker refuses."""
    return _ODD.sub("_", name)


def need(package: str, tracker: str) -> None:
    """Raise UserError where a tracker's package is not installed."""
    if find_spec(package) is None:
        raise UserError(
            f"track={tracker} needs the package {package}, which is not installed.\n"
            f"Try: pip install 'unlearnbench[{tracker}]'"
        )


def _metrics(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield the metrics by role, metric and split; those of a stream's earlier requests after their number."""
    rows = read_metrics(folder)
    last = rows["request"].max()
    for request, role, split, metric, value in rows[["request", "role", "split", "metric", "value"]].itertuples(
        index=False, name=None
    ):
        before = "" if request == last else f"request_{request}/"
        yield f"{before}{role}/{metric}/{split}", float(value)


def _costs(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for what in AMOUNTS:
        for model, value in result.get(what, {}).items():
            yield f"cost/{what}/{model}", float(value)
    for what in RATIOS:
        if result.get(what) is not None:
            yield f"cost/{what}", float(result[what])


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, node
