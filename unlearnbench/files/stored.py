"""Read back a JSON file that may be damaged: a mapping, or an error that says what is wrong."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

LIMIT = 64 * 2**20
"""The most bytes a file may have to be read whole; ours have a few thousand."""


def content(path: Path) -> bytes:
    """Return a regular file's content.

    Raises OSError or ValueError if it is missing or far too large.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # opening a pipe could block forever
        raise ValueError(f"{path.name} is not a regular file")
    if found.st_size > LIMIT:
        raise ValueError(f"{path.name} has {found.st_size} bytes, expected at most {LIMIT}")
    return path.read_bytes()


def mapping(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise OSError or ValueError if there is none."""
    try:
        values = json.loads(content(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return values


def why(error: Exception) -> str:
    """Return in a few words why a file could not be read."""
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{Path(error.filename).name} is missing"
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name} cannot be read: {error.strerror}"
    return str(error)
