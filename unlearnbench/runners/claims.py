"""Claims: who is computing which stage, so that nobody else begins it. They only save work.

A claim is a file that only one process can create. Its holder touches it every few seconds; one that has not been
touched for three beats, or whose process has ended, is taken over. Two processes that compute one stage all the same
publish it once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unlearnbench.files import leftovers, stored

BEAT_SECONDS = 10.0
BEATS = 3


class Claims:
    """The claims of one cache. `job` names the work that this process does, such as a job of SLURM."""

    def __init__(self, folder: Path, job: str = "") -> None:
        self.folder, self.job = folder, job

    @contextmanager
    def held(self, key: str, label: str = "") -> Iterator[bool]:
        """Hold a stage's claim in the block; yield False where another process has it."""
        path = self.folder / key
        if not self._created(path, label):
            yield False
            return
        done = threading.Event()
        beat = threading.Thread(target=_beat, args=(path, done), daemon=True)
        beat.start()
        try:
            yield True
        finally:
            done.set()
            path.unlink(missing_ok=True)

    def holders(self) -> dict[str, dict[str, Any]]:
        """Return who holds which claim that is alive: by key, its host, process, job, label and since when."""
        found = {}
        for path in self.folder.glob("[0-9a-f]*"):
            with suppress(OSError, ValueError):
                if not self._is_stale(path):
                    found[path.name] = stored.mapping(path)
        return found

    def _created(self, path: Path, label: str) -> bool:
        """Create a claim; take over a stale one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        who = {**leftovers.me(), "job": self.job, "label": label, "since": time.time()}
        while True:
            try:
                with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "w") as file:
                    json.dump(who, file)
                return True
            except FileExistsError:
                if not self._is_stale(path):
                    return False
            aside = path.with_name(f".stale-{path.name}-{os.getpid()}")
            with suppress(FileNotFoundError):  # somebody else takes it over
                path.rename(aside)
                aside.unlink()

    def _is_stale(self, path: Path) -> bool:
        """Return whether a claim's process has ended, or has not been heard of for three beats."""
        try:
            age = self._now() - path.stat().st_mtime
            who = stored.mapping(path)
        except (FileNotFoundError, ValueError):  # it is gone, or is just being written
            return False
        return age > BEATS * BEAT_SECONDS or leftovers.has_ended(who)

    def _now(self) -> float:
        """Return the file system's time: that of another machine need not be ours."""
        clock = self.folder / f".clock-{os.getpid()}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink(missing_ok=True)
        return now


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_SECONDS):
        with suppress(OSError):  # taken over, or on a disk that is full: it only saves work
            os.utime(path)
