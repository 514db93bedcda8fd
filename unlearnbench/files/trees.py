"""Walk a folder with any number of files, and recognise by names, sizes and times that nothing in it has changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What operating systems leave in folders, in lower case; hidden files begin with a dot."""


class Entry(NamedTuple):
    """A file below a folder: its path from there with slashes, its size in bytes, and its time of change.

    The size is -1 for a link to nowhere, a pipe or a device.
    """

    name: str
    size: int
    mtime_ns: int


def files_below(folder: Path) -> Iterator[Entry]:
    """Yield the files below a folder, sorted within each folder; leave out hidden ones and those of SYSTEM.

    Links are followed, but a folder that holds itself is entered once.
    """
    yield from _below(str(folder), "", frozenset())


def _below(folder: str, name: str, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    found = os.stat(folder)
    own = (found.st_dev, found.st_ino)
    if own in above:
        return
    with os.scandir(folder) as entries:
        shown = sorted((one for one in entries if is_shown(one.name)), key=lambda one: one.name)
    for one in shown:
        if one.is_dir():
            yield from _below(one.path, f"{name}{one.name}/", above | {own})
        else:
            yield entry_of(one.path, name + one.name)


def is_shown(name: str) -> bool:
    """Return whether a file or folder is a person's, not hidden and not the system's."""
    return not name.startswith(".") and name.lower() not in SYSTEM


def entry_of(path: str, name: str) -> Entry:
    """Look at a file."""
    try:
        found = os.stat(path)
    except OSError:
        return Entry(name, -1, 0)
    return Entry(name, found.st_size if stat.S_ISREG(found.st_mode) else -1, found.st_mtime_ns)


def stamp(folder: Path) -> str:
    """Return a digest of the names, sizes and times of all files below a folder; their content is not read."""
    found = hashlib.sha256()
    for name, size, mtime_ns in files_below(folder):
        found.update(f"{name}\0{size}\0{mtime_ns}\n".encode(errors="surrogateescape"))
    return found.hexdigest()
