"""What a stage's key is made of: typed settings and the content of files; never paths or names of devices."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from unlearnbench.files.digests import known_digest
from unlearnbench.files.outside import files_of

_CANONICAL = json.JSONEncoder(sort_keys=True)


def digest(*parts: object) -> str:
    """Return the SHA-256 of the parts' canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(_CANONICAL.encode([describe(part) for part in parts]).encode()).hexdigest()


def describe(value: object) -> object:
    """Turn a configuration value into JSON: dataclasses by class and fields, files and arrays by their SHA-256.

    Fields declared with metadata {"key": False} (places, not contents) are left out; an object with `files()` adds
    the content of the files that it reads, by the names that it gives them, one with `content()` that digest.
    """
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [describe(entry) for entry in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {name: getattr(value, name) for name in _in_keys(type(value))}
        if content := files_of(value):
            named["content"] = dict(content)
        if callable(of_many := getattr(value, "content", None)):
            named["content of many files"] = of_many()
        return {"class": type(value).__qualname__, **{name: describe(field) for name, field in named.items()}}
    if isinstance(value, Mapping):
        return {str(name): describe(entry) for name, entry in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(describe(entry)) for entry in value)
    if isinstance(value, Path):
        return {"sha256": known_digest(value)}
    if isinstance(value, np.ndarray):
        return {"sha256": hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest(), "shape": value.shape}
    return value


@cache
def _in_keys(kind: Any) -> tuple[str, ...]:
    """Return the names of a dataclass's fields that are part of keys."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.metadata.get("key", True))
