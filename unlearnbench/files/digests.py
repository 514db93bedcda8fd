"""Digests of files: a large file is read once and then recognised by its stat until it changes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from unlearnbench.files import leftovers
from unlearnbench.files.home import cache_home

LARGE = 2**20
"""Remember digests of files from this size in bytes; smaller ones are as fast to read as a note about them."""
SETTLED_NS = 2 * 10**9
"""How old a change must be before we trust a stamp: file system clocks tick every 4 ms to 2 s."""

Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Seen:
    """A file's SHA-256, and its stamp if it is old enough to be trusted."""

    sha256: str
    stamp: Stamp | None


def file_digest(path: Path) -> str:
    """Read a file and return the SHA-256 of its content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_digest(path: Path) -> str:
    """Return a file's SHA-256; do not read a large file that has not changed."""
    return seen(path).sha256


def seen(path: Path) -> Seen:
    """Return a file's digest and stamp, read or remembered."""
    now, stamp = time.time_ns(), stamp_of(path)
    large = stamp[0] >= LARGE
    known = _recalled(path, stamp) if large else None
    if known is not None:
        return Seen(known, stamp)
    sha256 = file_digest(path)
    if stamp_of(path) != stamp or now - stamp[2] < SETTLED_NS:
        return Seen(sha256, None)
    if large:
        _remember(path, stamp, sha256)
    return Seen(sha256, stamp)


def stamp_of(path: Path) -> Stamp:
    """Return size, modification time and change time (both in ns), and inode."""
    found = path.stat()
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _recalled(path: Path, stamp: Stamp) -> str | None:
    try:
        kept = json.loads(_note(path).read_text())
        return str(kept["sha256"]) if tuple(kept["stamp"]) == stamp else None
    except (OSError, ValueError, KeyError, TypeError):  # no note yet, or a damaged one: read the file
        return None


def _remember(path: Path, stamp: Stamp, sha256: str) -> None:
    note = _note(path)
    with suppress(OSError):  # if the home is not writable, the next run is slower but still right
        note.parent.mkdir(parents=True, exist_ok=True)
        _clear_once(note.parent)
        leftovers.replace(note, json.dumps({"path": str(path), "stamp": stamp, "sha256": sha256}))


@cache
def _clear_once(folder: Path) -> None:
    """Remove leftovers among the notes, once per process: there may be thousands."""
    leftovers.clear(folder)


def _note(path: Path) -> Path:
    """Return the path of the note that remembers this file's digest, in a cache folder in the home."""
    home = cache_home()
    name = hashlib.sha256(os.path.abspath(path).encode(errors="surrogateescape")).hexdigest()[:32]
    return home / "unlearnbench" / "digests" / f"{name}.json"
