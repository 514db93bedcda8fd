"""Walk a folder with any number of files, and recognise by names, sizes and times that nothing in it has changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from unlearnbench.errors import UserError

SYSTEM = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What operating systems leave in folders, in lower case; hidden files begin with a dot."""


DEPTH = 100
"""The most folders inside each other."""
ENTRIES = 10**7
"""The most files and folders below a folder."""
TRY = "Try: the folder that holds the data and nothing else"


class Entry(NamedTuple):
    """A file below a folder: its path from there with slashes, its size in bytes, its times of change, and its inode.

    The size is -1 for a link to nowhere, a pipe or a device.
    """

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0


def files_below(folder: Path) -> Iterator[Entry]:
    """Yield the files below a folder, sorted within each folder; leave out hidden ones and those of SYSTEM.

    Links are followed, but only one to each folder, and none to a folder that holds it. Raises UserError for more than
    ENTRIES files, or folders deeper than DEPTH.
    """
    above, linked, count = [_place(str(folder))], set[tuple[int, int]](), 0
    stack = [(_shown(str(folder)), "")]
    while stack:
        entries, name = stack[-1]
        one = next(entries, None)
        if one is None:
            stack.pop(), above.pop()
            continue
        count += 1
        if count > ENTRIES:
            raise UserError(f"{folder} has more than {ENTRIES:,} files and folders, too many.\n{TRY}")
        if not _is_folder(one):
            yield entry_of(one.path, name + one.name)
            continue
        own = _place(one.path)
        if own in above or (one.is_symlink() and own in linked):
            continue
        if len(stack) > DEPTH:
            raise UserError(f"{folder} has more than {DEPTH} folders inside each other: {name[:60]}...\n{TRY}")
        if one.is_symlink():
            linked.add(own)
        above.append(own)
        stack.append((_shown(one.path), f"{name}{one.name}/"))


def _is_folder(one: os.DirEntry[str]) -> bool:
    try:
        return one.is_dir()
    except OSError:  # links through too many links, for one
        return False


def _place(folder: str) -> tuple[int, int]:
    """Return what tells a folder from all others, by whatever links we came."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _shown(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return iter(sorted((one for one in entries if is_shown(one.name)), key=lambda one: one.name))


def is_shown(name: str) -> bool:
    """Return whether a file or folder is a person's, not hidden and not the system's."""
    return not name.startswith(".") and name.lower() not in SYSTEM


def entry_of(path: str, name: str) -> Entry:
    """Look at a file."""
    try:
        found = os.stat(path)
    except OSError:
        return Entry(name, -1, 0)
    size = found.st_size if stat.S_ISREG(found.st_mode) else -1
    return Entry(name, size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def stamp(folder: Path) -> str:
    """Return a digest of the names, sizes, times and inodes of all files below a folder; their content is not read."""
    found = hashlib.sha256()
    for entry in files_below(folder):
        found.update(line_of(entry) + b"\n")
    return found.hexdigest()


def line_of(entry: Entry) -> bytes:
    """Return all that is known of a file as one line."""
    return "\0".join(map(str, entry)).encode(errors="surrogateescape")
