"""The index of finished runs: asked before torch or any method is imported, so that a known run is shown at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from unlearnbench import plugins
from unlearnbench.compose import Request
from unlearnbench.keys import CORE, MODELS, TASKS, digest, file_digest, sources
from unlearnbench.precision import cpu_has_amx
from unlearnbench.reported import carries
from unlearnbench.results import read_result


def find(request: Request) -> Path | None:
    """Return the folder of this very request's finished run, if there is one; a damaged entry counts as none.

    So does a run that carries other reported numbers than the request: `execute` finds it by its name, and mends that.
    """
    entry = _entry(request)
    try:
        folder = request.outputs / "runs" / json.loads(entry.read_text())["folder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if is_finished(folder, request) and carries(read_result(folder), request) else None


def is_finished(folder: Path, request: Request) -> bool:
    """Say whether a folder holds all the request wants; diverged and failed runs are tried again."""
    try:
        status = json.loads((folder / "result.json").read_text())["status"]
        if status != "done":
            return bool(status == "skipped")
        wants_model = request.config.get("save_model") is True
        has_numbers = (folder / "metrics.csv").stat().st_size > 0 and any((folder / "scores").iterdir())
        return has_numbers and ((folder / "model").exists() or not wants_model)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _entry(request: Request) -> Path:
    """Name the file that remembers the finished run of this composed request, the code and the machine's abilities."""
    package = sorted(Path(__file__).parent.rglob("*.py"))
    code = [*(file_digest(file) for file in package), *_plugin_code()]
    config = {key: value for key, value in request.config.items() if key not in ("outputs", "save_model")}
    machine = [cpu_has_amx(), Path("/proc/driver/nvidia/version").exists(), os.environ.get("CUDA_VISIBLE_DEVICES")]
    key = digest(config, request.choices, code, _given(config), _weights(config), machine)
    return request.outputs / "cache" / "runs" / f"{key}.json"


def _given(config: dict[str, Any]) -> list[str | None]:
    """Return the digests of a model's files of weights: its checkpoint and its pretrained ones."""
    named = [(config.get("model") or {}).get(key) for key in ("checkpoint", "pretrained")]
    return [file_digest(Path(file)) if isinstance(file, str) and Path(file).is_file() else None for file in named]


def _weights(config: dict[str, Any]) -> list[list[object]]:
    """Return names, sizes and times of a pretrained model's local files: their content is digested when it runs."""
    path = (config.get("model") or {}).get("path")
    files = sorted(Path(path).glob("*")) if path and Path(path).is_dir() else []
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def remember(request: Request, folder: Path) -> None:
    """Note where the finished run of this request is."""
    entry = _entry(request)
    entry.parent.mkdir(parents=True, exist_ok=True)
    part = entry.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps({"folder": folder.name}))
    part.replace(entry)


def stage_sources(request: Request) -> dict[str, str]:
    """Return the digests of the sources that decide a run's results: its parts', the evaluation's, all plugins'."""
    parts = [values["_target_"].rpartition(".")[0] for values in request.config.values() if _is_part(values)]
    metrics = sorted(f"unlearnbench.metrics.{file.stem}" for file in (Path(__file__).parent / "metrics").glob("*.py"))
    tasks = (name for names in TASKS.values() for name in names)
    around = (f"unlearnbench.{name}" for name in ("experiment", "evidence", "intervals", "premise", "transcripts"))
    core = (*around, *CORE, *tasks, *MODELS)
    theirs = {str(number): code for number, code in enumerate(_plugin_code())}
    return {**sources([*parts, *core, *metrics]), **theirs}


def _plugin_code() -> list[str]:
    """Return the digests of all plugin files, and of the packages with an entry point, sorted."""
    installed = (file for folder in plugins.packages() for file in folder.rglob("*.py"))
    return sorted(file_digest(file) for file in (*plugins.files(), *installed))


def _is_part(values: object) -> bool:
    return isinstance(values, dict) and "_target_" in values
