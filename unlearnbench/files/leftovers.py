"""Partial files and folders, named after their process and removed once it is dead.

A name has the host, the process and its start time. We cannot ask whether a process on another host is alive, so its
leftovers are removed once nothing has touched them for a week.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

from unlearnbench import signals

WEEK = 7 * 24 * 3600.0
NAME = re.compile(r"\.part-([0-9a-f]{8})-(\d{1,9})-(\d+)-[0-9a-f]{8}")

_own: set[Path] = set()


def named(folder: Path) -> Path:
    """Return a new name in a folder for something to rename when it is complete; a signal removes it."""
    path = folder.absolute() / f".part-{_host()}-{os.getpid()}-{_started(os.getpid())}-{uuid4().hex[:8]}"
    _own.add(path)
    signals.at_end(_remove_own)
    return path


@contextmanager
def part(folder: Path) -> Iterator[Path]:
    """Yield a new name in a folder; remove whatever still has it after the block."""
    path = named(folder)
    try:
        yield path
    finally:
        remove(path)


def replace(path: Path, text: str) -> None:
    """Write a small file atomically."""
    with part(path.parent) as fresh:
        fresh.write_text(text)
        fresh.replace(path)


def remove(path: Path) -> None:
    """Remove a file or folder, if it exists; for a link, the link itself."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    _own.discard(path)


def clear(folder: Path) -> None:
    """Remove what dead processes left in a folder, recognised by its name."""
    for entry in _entries(folder):
        if is_dead(entry):
            remove(entry)


def is_dead(entry: Path) -> bool:
    """Return whether a file or folder was left by a dead process, going by its name."""
    found = NAME.fullmatch(entry.name)
    if not found:
        return False
    return _age(entry) > WEEK if found[1] != _host() else not _is_alive(int(found[2]), found[3])


def clear_outputs(outputs: Path) -> None:
    """Remove leftovers of dead processes from an outputs folder, and states no longer needed.

    The state of an unfinished stage is kept, to resume from. A damaged stage is kept for a week.
    """
    cache = outputs / "cache"
    for folder in (outputs, outputs / "runs", cache / "runs", cache / "parts", cache / "unfinished", cache / "claims"):
        clear(folder)
    for sweep in _entries(outputs / "sweeps"):
        clear(sweep)
    for state in _entries(cache / "unfinished"):
        if (cache / "stages" / state.name).exists():
            remove(state)
    for stage in _entries(cache / "damaged"):
        if _age(stage) > WEEK:
            remove(stage)
    for claim in _entries(cache / "claims"):
        if not claim.name.startswith(".") and _claimed_by_the_dead(claim):
            remove(claim)


def _claimed_by_the_dead(claim: Path) -> bool:
    try:
        return has_ended(json.loads(claim.read_bytes()[:10_000]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # it is gone, or not a claim
        return False


def me() -> dict[str, str | int]:
    """Return what names this process: its host, with boot and container, its number, and when it started."""
    return {"host": _host(), "name": socket.gethostname(), "process": os.getpid(), "started": _started(os.getpid())}


def has_ended(who: Mapping[str, object]) -> bool:
    """Return whether the process that `me` named has ended; False for one of another host."""
    return who.get("host") == _host() and not _is_alive(int(str(who["process"])), str(who["started"]))


def _entries(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder)]
    except OSError:  # missing, or not readable
        return []


def _is_alive(process: int, started: str) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process
        pass
    return _started(process) in (started, "0")


def _started(process: int) -> str:
    """Return a process's start time in the system's unit; "0" if unknown, "" if the process has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "0"
    return "" if fields[0] in "ZX" else fields[19]


@cache
def _host() -> str:
    """Return a name for this host, its current boot, and the container whose process numbers we see."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _age(path: Path) -> float:
    """Return the seconds since a file, or anything in a folder, last changed; 0 if that is unknown."""
    try:
        inside = list(path.iterdir()) if path.is_dir() and not path.is_symlink() else []
        return time.time() - max(one.lstat().st_mtime for one in (path, *inside))
    except OSError:
        return 0.0


def _remove_own() -> None:
    """Remove what this process has not finished; a forked process does not touch its parent's."""
    mine = f"-{os.getpid()}-{_started(os.getpid())}-"
    for path in list(_own):
        if mine in path.name:
            remove(path)
