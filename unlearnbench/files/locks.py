"""Locks between processes: files that are there only as long as somebody holds or awaits them.

Removing a lock file while others wait on it would let two of them in: whoever gets the lock looks whether its file is
still the one of that name, and asks again where it is not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of that name during the block; yield False where, without waiting, another process has it.

    On a file system without locks everybody gets in: what is computed twice is published once.
    """
    held = _acquired(path, wait)
    try:
        yield held is not None
    finally:
        if held is not None:
            _release(path, held)


def remove_free(path: Path) -> None:
    """Remove the lock file that a dead process left; one that is held or awaited stays."""
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
            return held  # no locks here
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
    """Remove the file while the lock is held, then let go."""
    with suppress(OSError):
        if _is_at(path, held):
            path.unlink()
    os.close(held)
