"""Images decoded once into one file, which is then mapped into memory: neither memory nor decoding grow with a run.

A folder `pixels/KEY` holds `pixels.npy` (n, c, s, s) uint8, `rows.npy` with the SHA-256 of each row's source and of its
pixels, and `facts.json`. The key is made of the sources' digests, the size and channels, and the decoder's version. A
folder is written under another name and renamed, so that it is whole or absent; of two processes the first one wins.
When some files of a set are new, the rows of the others are copied from what was decoded before.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unlearnbench.data.decoding import VERSION
from unlearnbench.errors import UserError
from unlearnbench.files import disk, leftovers, publish, stored
from unlearnbench.files.durable import write_durably
from unlearnbench.machine.bars import bar
from unlearnbench.machine.threads import available

log = logging.getLogger("unlearnbench")

CHUNK = 16
"""Rows that a thread decodes before it looks for more."""
UNREAD = b"unread: "
"""What the digest of a source begins with that could not be read: it may be readable the next time."""
Digests = NDArray[np.bytes_]
Shape = tuple[int, int, int]


class Source(Protocol):
    """Where images come from, numbered from 0."""

    digests: Digests
    """The SHA-256 of each one's content, (n,) S32; b"" where nobody has read it yet."""

    def read(self, row: int) -> tuple[bytes, Any]:
        """Return the digest of a row's content, and the content; raise ValueError where it cannot be read."""

    def decoded(self, content: Any, shape: Shape) -> NDArray[np.uint8]:
        """Return what was read as pixels of this shape; raise ValueError where it is not a sound image."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded images: a mapped file (n, c, s, s) uint8, and the SHA-256 of each source and of its pixels, (n,) S32.

    `reasons` says by row why there are no pixels.
    """

    map: NDArray[np.uint8]
    sources: Digests
    digests: Digests
    reasons: Mapping[int, str]


def pixels_of(source: Source, shape: Shape, place: Path, title: str) -> Pixels:
    """Return the images of a source, decoded now or before, from the cache folder `place`.

    Raises UserError where they cannot be written there, Stopped where the disk is full.
    """
    if (source.digests != b"").all():
        found = opened(place / _key(source.digests, shape), shape)
        if found is not None:
            return found
    _make_place(place, len(source.digests) * int(np.prod(shape)))
    with disk.watched(place), leftovers.part(place) as part:
        part.mkdir()
        key, found = _Builder(source, shape, place, part).build(title)
        if found is not None:
            return found
        own = opened(part, shape)
        assert own is not None, f"{part} was written a moment ago"
        with suppress(OSError):  # the cache may be gone by now; what was written stays readable for this process
            publish.once(part, place / key)
    return opened(place / key, shape) or own  # a map stays readable, whoever removes its file


def _make_place(place: Path, size: int) -> None:
    """Make the cache folder; raise UserError where it cannot be written, or has no room for so many bytes."""
    remedy = "Try: dataset.cache=FOLDER"
    try:
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise UserError(f"{place} cannot hold decoded images: {error.strerror}.\n{remedy}") from error
    if size > free or not os.access(place, os.W_OK):
        why = f"they need {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} are free" if size > free else "read-only"
        raise UserError(
            f"{place} cannot hold decoded images: {why}.\n{remedy} on another disk, or a smaller dataset.size"
        )
    leftovers.clear(place)


def opened(folder: Path, shape: Shape) -> Pixels | None:
    """Return what a folder of the cache holds; None, and the folder is removed, where it is damaged."""
    if not folder.exists():
        return None
    try:
        return _opened(folder, shape)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged, and made again: %s", folder, stored.why(error))
        leftovers.remove(folder)
        return None


def _opened(folder: Path, shape: Shape) -> Pixels:
    facts = stored.mapping(folder / "facts.json")
    rows = np.load(folder / "rows.npy", allow_pickle=False)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    if hashlib.sha256(rows.tobytes()).hexdigest() != facts["rows"]:
        raise ValueError("rows.npy is not what was written")
    if pixels.shape != (len(rows), *shape) or pixels.dtype != np.uint8 or rows.shape[1:] != (64,):
        raise ValueError(f"pixels.npy is {pixels.dtype} {pixels.shape}")
    reasons = {int(row): str(reason) for row, reason in facts["reasons"].items()}
    found = Pixels(pixels, _half(rows, 0), _half(rows, 1), reasons)
    if facts["stamp"] != _stamp(folder / "pixels.npy"):  # copied, or changed: read it once
        if not is_sound(found):
            raise ValueError("pixels.npy is not what was written")
        with suppress(OSError):  # somebody else's cache: it is read again the next time
            _write_facts(folder, facts["reasons"], facts["rows"])
    return found


def is_sound(found: Pixels) -> bool:
    """Return whether every row of the file has its digest; reads all of it."""
    return all(
        hashlib.sha256(found.map[row]).digest() == _padded(found.digests[row])
        for row in range(len(found.map))
        if row not in found.reasons
    )


class _Builder:
    """Decodes a source into a folder, with all cores."""

    def __init__(self, source: Source, shape: Shape, place: Path, part: Path) -> None:
        self.source, self.shape, self.place, self.part = source, shape, place, part
        self.count = len(source.digests)
        self.rows = np.zeros((self.count, 64), np.uint8)
        self.reasons: dict[int, str] = {}
        self.older = _Older(place, shape)
        self.size = int(np.prod(shape))
        header = np.lib.format
        with (part / "pixels.npy").open("wb") as file:
            header.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (self.count, *shape)})
            self.start = file.tell()
            file.truncate(self.start + self.count * self.size)

    def build(self, title: str) -> tuple[str, Pixels | None]:
        """Decode what is new, copy the rest; return the key, and what is there already under it: no part is made."""
        file = os.open(self.part / "pixels.npy", os.O_WRONLY)
        try:
            self._decode(file, title)
            key = _key(_half(self.rows, 0), self.shape)
            if (found := opened(self.place / key, self.shape)) is not None:
                return key, found
            self._copy(file)
            os.fsync(file)
        finally:
            os.close(file)
        write_durably(self.part / "rows.npy", npy(self.rows))
        reasons = {str(row): self.reasons[row] for row in sorted(self.reasons)}
        _write_facts(self.part, reasons, hashlib.sha256(self.rows.tobytes()).hexdigest())
        return _key(_half(self.rows, 0), self.shape), None  # a file may have changed since it was first read

    def _decode(self, file: int, title: str) -> None:
        """Read and decode what is new, and note the digests of all."""
        known = self.older.has(self.source.digests)
        self.rows[known, :32] = self.source.digests[known].view(np.uint8).reshape(-1, 32)
        new = np.flatnonzero(~known).tolist()
        cores = available()
        chunks = [new[first : first + CHUNK] for first in range(0, len(new), CHUNK)]
        with bar(title) as progress, ThreadPoolExecutor(cores) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of odd tags
            for first in range(0, len(chunks), 4 * cores):
                list(pool.map(partial(self._rows_of, file), chunks[first : first + 4 * cores]))
                progress.update(min((first + 4 * cores) * CHUNK, len(new)), len(new))

    def _rows_of(self, file: int, chunk: Sequence[int]) -> None:
        for row in chunk:
            self._row(file, row)

    def _row(self, file: int, row: int, again: bool = False) -> None:
        """Read a row, and decode it if nobody has before, or `again`."""
        try:
            digest, content = self.source.read(row)
        except ValueError as error:
            self._bad(row, error, UNREAD + hashlib.sha256(f"{row}: {error}".encode()).digest()[len(UNREAD) :])
            return
        self.rows[row, :32] = np.frombuffer(digest, np.uint8)
        if not again and self.older.place_of(digest) is not None:
            return
        try:
            self._write(file, row, self.source.decoded(content, self.shape))
        except ValueError as error:
            self._bad(row, error, digest)

    def _bad(self, row: int, error: ValueError, digest: bytes) -> None:
        self.rows[row, :32] = np.frombuffer(digest, np.uint8)
        self.reasons[row] = str(error)

    def _write(self, file: int, row: int, pixels: NDArray[np.uint8]) -> None:
        content = pixels.tobytes()
        self.rows[row, 32:] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
        os.pwrite(file, content, self.start + row * self.size)  # unlike a map, it says when the disk is full

    def _copy(self, file: int) -> None:
        """Copy the rows that were decoded before; what is damaged there is decoded again."""
        for row in np.flatnonzero(~self.rows[:, 32:].any(axis=1)).tolist():
            found = self.older.place_of(self.rows[row, :32].tobytes()) if row not in self.reasons else None
            if found is None:
                continue
            pixels, at = found
            if at in pixels.reasons:
                self.reasons[row] = pixels.reasons[at]
            elif hashlib.sha256(pixels.map[at]).digest() == _padded(pixels.digests[at]):
                self._write(file, row, pixels.map[at])
            else:
                self._row(file, row, again=True)


class _Older:
    """What was decoded before to this shape, by the digest of its source."""

    def __init__(self, place: Path, shape: Shape) -> None:
        self.found = list(_alike(place, shape))
        digests = [pixels.sources for pixels in self.found] or [np.empty(0, "S32")]
        together = np.concatenate(digests)
        self.order = np.argsort(together, kind="stable")
        self.sorted = together[self.order]
        self.ends = np.cumsum([len(one) for one in digests])

    def has(self, digests: Digests) -> NDArray[np.bool_]:
        """Return which sources' pixels are there, (n,)."""
        known: NDArray[np.bool_] = np.isin(digests, self.sorted) & (digests != b"")
        return known

    def place_of(self, digest: bytes) -> tuple[Pixels, int] | None:
        """Return where a source's pixels are."""
        wanted = np.array(digest, "S32")
        at = int(np.searchsorted(self.sorted, wanted))
        if at == len(self.sorted) or self.sorted[at] != wanted:
            return None
        row = int(self.order[at])
        number = int(np.searchsorted(self.ends, row, side="right"))
        return self.found[number], row - (int(self.ends[number - 1]) if number else 0)


def _alike(place: Path, shape: Shape) -> Iterator[Pixels]:
    prefix = _prefix(shape)
    for folder in sorted(place.glob(f"{prefix}-*")):
        found = opened(folder, shape)
        if found is not None:
            yield found


def _prefix(shape: Shape) -> str:
    """Return how the folders of one shape and decoder begin."""
    return f"{shape[1]}x{shape[0]}-{hashlib.sha256(VERSION.encode()).hexdigest()[:8]}"


def _key(digests: Digests, shape: Shape) -> str:
    return f"{_prefix(shape)}-{hashlib.sha256(digests.tobytes()).hexdigest()[:40]}"


def _padded(digest: bytes) -> bytes:
    """Return a digest's 32 bytes: numpy drops zeros from the end of a text."""
    return digest.ljust(32, b"\0")


def _half(rows: NDArray[np.uint8], number: int) -> Digests:
    half: Digests = np.ascontiguousarray(rows[:, 32 * number : 32 * number + 32]).view("S32")[:, 0]
    return half


def _stamp(file: Path) -> list[int]:
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def _write_facts(folder: Path, reasons: Mapping[str, str], rows: str) -> None:
    facts = {"stamp": _stamp(folder / "pixels.npy"), "rows": rows, "reasons": dict(reasons)}
    with leftovers.part(folder) as part:
        write_durably(part, json.dumps(facts).encode())
        part.replace(folder / "facts.json")


def npy(array: NDArray[np.generic]) -> bytes:
    """Return an array as the content of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
