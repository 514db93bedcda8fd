"""Photos in files: read, and recognised by size, times and inode so that a million of them are hashed once."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearnbench.data.decoding import LARGEST, decoded
from unlearnbench.data.pixels import UNREAD, Digests, Shape, npy
from unlearnbench.files import leftovers
from unlearnbench.files.digests import SETTLED_NS
from unlearnbench.files.durable import write_durably
from unlearnbench.files.trees import Entry, line_of

NOTES = np.dtype([("name", "<u8"), ("check", "<u8"), ("sha256", "S32")])
"""A note: two halves of a digest of a file's path, size, times and inode, and the SHA-256 of its content."""


class Photos:
    """The files of a data set, as a source of pixels; `entries` are relative to `root`."""

    def __init__(self, root: Path, entries: Sequence[Entry], place: Path) -> None:
        self.root, self.entries = root, entries
        self.notes = place / f"{hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()[:32]}.npy"
        self.began = time.time_ns()
        self.names = _names(entries)
        self.digests = self._recalled()

    def read(self, row: int) -> tuple[bytes, bytes]:
        """Return the SHA-256 of a file, and its content."""
        size = self.entries[row].size
        if size < 0:
            raise ValueError("is a broken link, a pipe or a device")
        if size > LARGEST:
            raise ValueError(f"has {size:,} bytes; at most {LARGEST:,} are read")
        try:
            content = (self.root / self.entries[row].name).read_bytes()
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from error
        return hashlib.sha256(content).digest(), content

    def decoded(self, content: bytes, shape: Shape) -> NDArray[np.uint8]:
        """Decode a file."""
        return decoded(content, shape[1], shape[0])

    def remember(self, digests: Digests) -> None:
        """Note the digests of the files that had not just changed when we looked at them."""
        settled = np.array([self.began - entry.ctime_ns >= SETTLED_NS for entry in self.entries], bool)
        settled &= ~np.strings.startswith(digests, UNREAD)
        if np.array_equal(self.digests, digests) or not settled.any():
            return
        notes = np.zeros(int(settled.sum()), NOTES)
        notes["name"], notes["check"], notes["sha256"] = (
            self.names[settled, 0],
            self.names[settled, 1],
            digests[settled],
        )
        notes.sort(order=("name", "check"))
        with suppress(OSError):  # if the cache is not writable, the next run is slower but still right
            self.notes.parent.mkdir(parents=True, exist_ok=True)
            leftovers.clear(self.notes.parent)
            with leftovers.part(self.notes.parent) as part:
                write_durably(part, npy(notes))
                part.replace(self.notes)

    def _recalled(self) -> Digests:
        """Return the digests that are known, (n,) S32; b"" for the others."""
        found = np.zeros(len(self.entries), "S32")
        try:
            notes = np.load(self.notes, allow_pickle=False)
            if notes.dtype != NOTES or notes.ndim != 1:
                return found
        except (OSError, ValueError, EOFError):  # none yet, or damaged: the files are read again
            return found
        at = np.searchsorted(notes["name"], self.names[:, 0])
        inside = at < len(notes)
        at[~inside] = 0
        same = inside & (len(notes) > 0)
        if len(notes):
            same &= (notes["name"][at] == self.names[:, 0]) & (notes["check"][at] == self.names[:, 1])
            found[same] = notes["sha256"][at[same]]
        return found


def _names(entries: Sequence[Entry]) -> NDArray[np.uint64]:
    """Return a digest of each file's path, size, times and inode, (n, 2) uint64."""
    hashed = [hashlib.blake2b(line_of(entry), digest_size=16).digest() for entry in entries]
    return np.frombuffer(b"".join(hashed), "<u8").reshape(-1, 2)
