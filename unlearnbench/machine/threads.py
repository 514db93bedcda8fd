"""How many threads a run computes with, and whether the machine has other work.

Threads that wait for each other spin: quick where each has a core of its own, slow where they share one
(docs/precision.md has both measured).
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
    """Return how many cores this process may use: its affinity and its container's quota, not the machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, *(_quota(folder) for folder in _groups(CGROUP, OWN_GROUP))))


def automatic() -> int:
    """Return the threads of `threads=auto`: the available cores, or fewer where OMP_NUM_THREADS asks for fewer."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(available(), int(asked)) if asked.isdigit() and int(asked) > 0 else available()


def _groups(root: Path, own: Path) -> list[Path]:
    """Return the folders of this process's control group and of all above it: each may have a quota."""
    try:
        paths = [line.rpartition(":")[2].strip("/") for line in own.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        paths = []
    inside = [root / path for path in paths if path]
    return [root, *(folder for group in inside for folder in (group, *group.parents) if root in folder.parents)]


def _quota(root: Path) -> int:
    """Return the cores that the container's CPU quota comes to, rounded up; a large number where there is none."""
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
    """What a machine of `cores` cores was busy with: its mean load of a minute, and what ran beside this process."""

    cores: int
    average: float
    running: float

    @property
    def busy(self) -> bool:
        """Whether other work wants more cores than there are: over the last minute, and still now."""
        return self.average > self.cores and self.running >= self.cores


def load() -> Load:
    """Look at the machine's load; 0 on a system that does not tell."""
    cores = os.cpu_count() or 1
    average = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return Load(cores, average, _running() if average > cores else 0.0)


def _running() -> float:
    """Return how many threads run or wait for a core beside this one, the median of some looks."""
    looks = []
    try:
        for _ in range(LOOKS):
            looks.append(int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1)
            time.sleep(PAUSE_SECONDS)
    except (OSError, ValueError, IndexError):
        return math.inf  # the load of the last minute has to do
    return median(looks)


@contextmanager
def using(threads: Threads) -> Iterator[None]:
    """Have torch compute with so many threads inside the block."""
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
            "the machine is busy (load %.1f on %d cores): the seconds of this run say little.%s",
            seen.average,
            seen.cores,
            hint if _number(threads) > 1 else "",
        )


def _number(threads: Threads) -> int:
    return automatic() if threads == "auto" else threads
