"""Read back a JSON file that anything may have happened to: a mapping, or an error that says what is wrong with it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

LIMIT = 64 * 2**20
"""Bytes that a file which is read as a whole may have: ours have some thousand."""


def content(path: Path) -> bytes:
    """Return a plain file's content; raise OSError or ValueError where there is none, or far too much of it."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
        raise ValueError(f"{path.name} is no plain file")
    if found.st_size > LIMIT:
        raise ValueError(f"{path.name} has {found.st_size} bytes, expected at most {LIMIT}")
    return path.read_bytes()


def mapping(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise OSError or ValueError where there is none."""
    try:
        values = json.loads(content(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return values


def why(error: Exception) -> str:
    """Say in a few words why a file could not be read."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{Path(error.filename).name} is missing"
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name} cannot be read: {error.strerror}"
    return str(error)
