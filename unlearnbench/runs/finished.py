"""The index of finished runs: asked before torch or any method is imported, so that a known run is shown at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from unlearnbench.files import leftovers, stored, sums
from unlearnbench.files.digests import file_digest
from unlearnbench.files.outside import Looked, renewed
from unlearnbench.graph.keys import digest
from unlearnbench.graph.sources import source_of, sources
from unlearnbench.machine.precision import processor
from unlearnbench.request import plugins
from unlearnbench.request.compose import Request
from unlearnbench.request.reported import carries
from unlearnbench.results.result import read_result

PACKAGE = Path(__file__).parents[1]
ELSEWHERE = ("outputs", "save_model", "runner", "track")
"""Keys that say where a run is computed, written and shown, and nothing about what it finds."""
PLACES = ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE")
"""Environment variables that say where files are looked for that a configuration does not name."""


def find(request: Request) -> Path | None:
    """Return the folder of this very request's finished run, if there is one; a damaged entry counts as none.

    So does a run that read a file which has changed since, and one that carries other reported numbers or margins than
    the request: `execute` finds that one by its name, and mends it.
    """
    entry = _entry(request)
    try:
        kept = stored.mapping(entry)
        if kept["key"] != entry.stem:  # another request's, under this one's name
            return None
        folder = request.outputs / "runs" / Path(kept["folder"]).name
        outside = renewed(kept["outside"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if outside is None or not is_finished(folder, request) or not carries(read_result(folder), request):
        return None
    if outside != kept["outside"]:
        with suppress(OSError):  # somebody else's outputs: the files are read again the next time
            _write(entry, folder, outside)
    return folder


def is_finished(folder: Path, request: Request) -> bool:
    """Return whether a folder holds, undamaged, all the request wants; diverged and failed runs are tried again.

    A run without figures is written again for a request that wants them, and so is one that shows more or fewer forget
    rows than the request asks for: with eval.exposed=0 none must be left.
    """
    if sums.damage(folder) or os.path.basename(os.path.realpath(folder)) != folder.name:  # a link to another run
        return False
    try:
        result = read_result(folder)
    except (OSError, ValueError):  # another process has just replaced it
        return False
    has_model = request.config.get("save_model") is not True or (folder / "model" / "config.json").is_file()
    has_plots = not request.draws or result.get("plots") is not False
    shows = result.get("exposed") == (request.config.get("eval") or {}).get("exposed")
    status = result.get("status")
    return status == "skipped" or (status == "done" and has_model and has_plots and shows)


def _entry(request: Request) -> Path:
    """Name the file that remembers the finished run of this composed request, the code and the machine's abilities."""
    package = sorted(PACKAGE.rglob("*.py"))
    code = [*(file_digest(file) for file in package), *_plugin_code()]
    config = {key: value for key, value in request.config.items() if key not in ELSEWHERE}
    machine = [processor(), Path("/proc/driver/nvidia/version").exists(), os.environ.get("CUDA_VISIBLE_DEVICES")]
    places = [*(os.environ.get(name) for name in PLACES), _package(config)]
    key = digest(config, {**request.choices, "runner": None, "track": None}, code, places, machine)
    return request.outputs / "cache" / "runs" / f"{key}.json"


def _package(config: dict[str, Any]) -> str | None:
    """Say where the package with a model's weights is installed: without it they come from elsewhere."""
    package = (config.get("model") or {}).get("package")
    return str(source_of(package)) if isinstance(package, str) else None


def remember(request: Request, folder: Path, outside: Looked) -> None:
    """Note where the finished run of this request is, and what the files from outside were when it began.

    Where the note cannot be written, the run is found by its name, a little later.
    """
    entry = _entry(request)
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        _write(entry, folder, outside)


def _write(entry: Path, folder: Path, outside: Looked) -> None:
    leftovers.replace(entry, json.dumps({"key": entry.stem, "folder": folder.name, "outside": outside}))


def stage_sources(request: Request) -> dict[str, str]:
    """Return the digests of the sources that decide a run's results: what its parts import, metrics, all plugins."""
    parts = [target.rpartition(".")[0] for target in _targets({**request.config, "runner": None, "track": None})]
    ours = ("experiment", "stages.benches", "evaluations.evaluation")
    roots = (*(f"unlearnbench.{name}" for name in ours), *parts, *_metrics())
    theirs = {str(number): code for number, code in enumerate(_plugin_code())}
    return {**sources(roots), **theirs}


@cache
def _metrics() -> tuple[str, ...]:
    return tuple(sorted(f"unlearnbench.metrics.{file.stem}" for file in (PACKAGE / "metrics").glob("*.py")))


def _targets(values: object) -> Iterator[str]:
    """Yield the classes that a configuration names."""
    if isinstance(values, dict):
        if isinstance(values.get("_target_"), str):
            yield values["_target_"]
        for value in values.values():
            yield from _targets(value)


def _plugin_code() -> list[str]:
    """Return the digests of all plugins' files, sorted."""
    return sorted(file_digest(file) for file in plugins.code())
