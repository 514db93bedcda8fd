"""Failures of one plan, a small file each: what failed in one process is not tried again by the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unlearnbench.errors import Diverged, UserError
from unlearnbench.files import leftovers, stored


class FailedElsewhere(Exception):
    """A stage failed in another process; the message is the one there."""


class Failures:
    """A folder of notes on stages that failed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, key: str) -> Exception | None:
        """Return why a stage failed elsewhere, or None."""
        try:
            return _read(stored.mapping(self.folder / f"{key}.json"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, key: str, label: str, error: Exception) -> None:
        """Note a failure."""
        kind = "diverged" if isinstance(error, Diverged) else "mistake" if isinstance(error, UserError) else "failed"
        more = {"step": error.step, "role": error.role} if isinstance(error, Diverged) else {}
        said = str(error) if kind != "failed" else f"{type(error).__name__}: {error}"
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {"key": key, "label": label, "kind": kind, "reason": said, **more}
        leftovers.replace(self.folder / f"{key}.json", json.dumps(values))

    def all(self) -> list[dict[str, Any]]:
        """Return all that failed."""
        return [stored.mapping(file) for file in sorted(self.folder.glob("*.json"))]


def _read(note: dict[str, Any]) -> Exception:
    if note["kind"] == "diverged":
        return Diverged(int(note["step"]), str(note["role"]))
    return (UserError if note["kind"] == "mistake" else FailedElsewhere)(str(note["reason"]))
