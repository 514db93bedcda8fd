"""Where things are written: a place that will not do is said before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlearnbench.errors import Stopped, UserError
from unlearnbench.files import disk, leftovers


def writable(folder: Path, flag: str, below: Sequence[str] = ()) -> None:
    """Raise UserError if a folder, asked for by `flag` ("outputs="), or one `below` it cannot be written.

    Leaves nothing there.
    """
    try:
        for place in (folder, *(folder / name for name in below)):
            existing = _existing(place.absolute())
            if not existing.is_dir():
                raise UserError(f"{flag}{folder}: {existing} is a file, not a folder.\nTry: {flag}FOLDER, another one")
            leftovers.clear(existing)
            with leftovers.part(existing) as probe:
                probe.mkdir()
    except OSError as error:
        if error.errno in disk.FULL and (line := disk.why(error, folder)):
            raise Stopped(line) from error
        raise UserError(f"{flag}{folder} cannot be written: {error.strerror}.\nTry: {flag}FOLDER") from error


def _existing(place: Path) -> Path:
    """Return the nearest place at or above that is there."""
    return place if place.exists() else _existing(place.parent)
