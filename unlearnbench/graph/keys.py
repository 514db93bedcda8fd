"""What a stage's key is made of: configuration, the source that defines it, and files from outside; never paths."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np

from unlearnbench.files.digests import file_digest as file_digest
from unlearnbench.files.digests import known_digest
from unlearnbench.graph.outside import files_of


def _ours(*names: str) -> tuple[str, ...]:
    return tuple(f"unlearnbench.{name}" for name in names)


CORE = _ours(
    *("stages.stages", "training.stepper", "training.recipe", "training.resume", "training.kept", "training.optimizer"),
    *("training.batches", "training.parts", "training.fit", "training.record"),
    *("training.losses", "contracts", "problem", "randomness", "machine.determinism"),
    *("models.modes", "models.start", "models.weights", "models.checkpoint", "models.weight_files"),
)
"""Modules whose source is part of every stage's key, beside the model's own."""
TASKS = {
    "image": _ours("tasks.image", "tasks.augment", "models.head", "models.imagenet"),
    "text": _ours(
        *("tasks.text", "tasks.chat", "tasks.encoding", "tasks.examples", "tasks.generation", "tasks.options"),
        *("tasks.rendering", "models.loading", "models.adapter", "models.four_bit", "models.pretrained"),
    ),
}
"""Those of a kind of data."""
MODELS = _ours("models.masks", "models.hooks", "models.prefix", "models.adapter")
"""Those that methods change models with: part of an unlearned model's key, beside the method's own."""


def digest(*parts: object) -> str:
    """Return the SHA-256 of the parts' canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps([describe(part) for part in parts], sort_keys=True).encode()).hexdigest()


def describe(value: object) -> object:
    """Turn a configuration value into JSON: dataclasses by class and fields, files and arrays by their SHA-256.

    Fields declared with metadata {"key": False} (places, not contents) are left out; an object with `files()` adds
    the content of the files that it reads, by the names that it gives them.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.metadata.get("key", True)}
        if content := files_of(value):
            named["content"] = dict(content)
        return {"class": type(value).__qualname__, **{name: describe(field) for name, field in named.items()}}
    if isinstance(value, Mapping):
        return {str(name): describe(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(describe(entry)) for entry in value)
    if isinstance(value, Path):
        return {"sha256": known_digest(value)}
    if isinstance(value, np.ndarray):
        return {"sha256": hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest(), "shape": value.shape}
    return value


@cache
def source_of(module: str) -> Path | None:
    """Return the file that defines a module, without importing it; None where it cannot be found."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if not rest:
        return path
    below = path.parent.joinpath(*rest)
    for candidate in (below.with_suffix(".py"), below / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def sources(modules: Iterable[str]) -> dict[str, str]:
    """Return the digest of each module's source file by the module's name."""
    found = {module: source_of(module) for module in modules}
    return {module: file_digest(path) for module, path in found.items() if path is not None}
