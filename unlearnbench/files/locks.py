"""Locks between processes: files that exist only while a lock is held or awaited.

Removing a lock file while others wait for it could let two of them in. So whoever gets the lock checks that its file
still has that name, and tries again if it does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock during the block; without `wait`, yield False if another process has it.

    On a file system without locks everyone gets in: work may be done twice, but it is published once.
    """
    held = _acquired(path, wait)
    try:
        yield held is not None
    finally:
        if held is not None:
            _release(path, held)


def remove_free(path: Path) -> None:
    """Remove a lock file that a dead process left, unless another process holds it or waits for it."""
    with suppress(OSError):
        held = _acquired(path, wait=False, create=0)
        if held is not None:
            _release(path, held)


def _acquired(path: Path, wait: bool, create: int = os.O_CREAT) -> int | None:
    import fcntl

    while True:
        held = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | create, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(held)
            return None
        except OSError:
            return held  # this file system has no locks
        except BaseException:
            os.close(held)
            raise
        if _is_at(path, held):
            return held
        os.close(held)


def _is_at(path: Path, held: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(held))
    except FileNotFoundError:
        return False


def _release(path: Path, held: int) -> None:
    """Remove the file while still holding the lock, then release it."""
    with suppress(OSError):
        if _is_at(path, held):
            path.unlink()
    os.close(held)
