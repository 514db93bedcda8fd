"""Where things are written: a place that will not do is said before any work."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from unlearnbench.errors import UserError


def writable(folder: Path, flag: str) -> None:
    """Raise UserError where a folder, asked for by `flag` ("outputs="), cannot be written; leave nothing there."""
    try:
        existing = folder.absolute()
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise UserError(f"{flag}{folder}: {existing} is a file, not a folder.\nTry: {flag}FOLDER, another one")
        with TemporaryDirectory(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{flag}{folder} cannot be written: {error.strerror}.\nTry: {flag}FOLDER") from error
