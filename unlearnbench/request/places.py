"""Check that the output folders are writable before any work starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlearnbench.errors import Stopped, UserError
from unlearnbench.files import disk, leftovers


def writable(folder: Path, flag: str, below: Sequence[str] = ()) -> None:
    """Raise UserError if the folder given with `flag`, or one `below` it, is not writable.

    Leaves nothing behind.
    """
    try:
        for place in (folder, *(folder / name for name in below)):
            existing = _existing(place.absolute())
            if not existing.is_dir():
                raise UserError(f"{flag}{folder}: {existing} is a file, not a folder.\nTry: another {flag}FOLDER")
            leftovers.clear(existing)
            with leftovers.part(existing) as probe:
                probe.mkdir()
    except OSError as error:
        if error.errno in disk.FULL and (line := disk.why(error, folder)):
            raise Stopped(line) from error
        raise UserError(f"{flag}{folder} cannot be written: {error.strerror}.\nTry: {flag}FOLDER") from error


def _existing(place: Path) -> Path:
    """Return the nearest existing place at or above this one."""
    return place if place.exists() else _existing(place.parent)
