"""The number of threads of a run, and whether the machine is busy with other work.

Threads that wait for each other spin, which is fast if each has its own core and slow if they share one
(docs/precision.md has measurements of both).
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

from pydantic import Field

log = logging.getLogger("unlearnbench")

Threads = Literal["auto"] | Annotated[int, Field(ge=1, le=1024)]
CGROUP = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
LOOKS, PAUSE_SECONDS = 5, 0.01


def available() -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, *(_quota(folder) for folder in _groups(CGROUP, OWN_GROUP))))


def automatic() -> int:
    """Return the threads for `threads=auto`.

    The available cores, or OMP_NUM_THREADS if that is fewer.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(available(), int(asked)) if asked.isdigit() and int(asked) > 0 else available()


def _groups(root: Path, own: Path) -> list[Path]:
    """Return the folders of this process's control group and all its parents.

    Each may have a quota.
    """
    try:
        paths = [line.rpartition(":")[2].strip("/") for line in own.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        paths = []
    inside = [root / path for path in paths if path]
    return [root, *(folder for group in inside for folder in (group, *group.parents) if root in folder.parents)]


def _quota(root: Path) -> int:
    """Return the container's CPU quota in cores, rounded up; a large number if there is none."""
    try:
        version2 = root / "cpu.max"
        if version2.exists():
            quota, period = version2.read_text().split()
        else:
            quota, period = (
                (root / "cpu" / name).read_text().strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            )
        limit = math.inf if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return 10**6
    return math.ceil(limit) if 0 < limit < math.inf else 10**6


@dataclass(frozen=True)
class Load:
    """The load of a machine: the mean over a minute, and other threads running now."""

    cores: int
    average: float
    running: float

    @property
    def busy(self) -> bool:
        """Whether other work needs more cores than there are, over the last minute and still now."""
        return self.average > self.cores and self.running >= self.cores


def load() -> Load:
    """Measure the machine's load; 0 on a system that does not tell it."""
    cores = os.cpu_count() or 1
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return Load(cores, average, _running() if average > cores else 0.0)


def _running() -> float:
    """Return how many other threads run or wait for a core, as the median of a few samples."""
    looks = []
    try:
        for _ in range(LOOKS):
            looks.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1)
            time.sleep(PAUSE_SECONDS)
    except (OSError, ValueError, IndexError):
        return math.inf  # only the load of the last minute is known
    return median(looks)


@contextmanager
def using(threads: Threads) -> Iterator[None]:
    """Make torch compute with this many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(_number(threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def warn_if_busy(threads: Threads) -> None:
    """Warn where other work wants the cores that a run is about to compute with."""
    seen = load()
    if seen.busy:
        hint = " Try: threads=1, since threads that wait for each other can slow a run several times over"
        log.warning(
            "the machine is busy (load %.1f on %d cores): do not trust the seconds of this run.%s",
            seen.average,
            seen.cores,
            hint if _number(threads) > 1 else "",
        )


def _number(threads: Threads) -> int:
    return automatic() if threads == "auto" else threads
