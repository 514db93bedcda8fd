"""The runner that submits job arrays to SLURM, level by level, and returns at once."""

from __future__ import annotations

import getpass
import importlib.util
import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from unlearnbench.errors import UserError
from unlearnbench.ranges import Count, Positive
from unlearnbench.runners.levels import Level, pairs
from unlearnbench.runners.runner import Work
from unlearnbench.runners.sbatch import Sbatch, Word

log = logging.getLogger("unlearnbench")

USUAL_LARGEST = 1000
"""The longest array of a cluster that does not say otherwise: SLURM's MaxArraySize is 1001."""
MOST = 10_000
"""The longest array of ours: SLURM takes scripts up to 4 MB, and each task has a line in its array's."""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """Settings of runner=slurm: what each task gets, and how the arrays are submitted.

    `gpus` is what a task gets that needs any. `array` is how many tasks of an array run at once, `largest_array` how
    many it may have at most (null: ask the cluster). `requeues` is how often a task goes back into the queue that is
    preempted or out of time; what it had computed stays.
    """

    away: ClassVar[bool] = True
    alone: ClassVar[bool] = False
    partition: Word | None
    gpus: Annotated[int, Field(ge=0, le=64)]
    cpus: Annotated[int, Field(ge=1, le=4096)]
    minutes: Annotated[int, Field(ge=5, le=10**6)]
    memory_gib: Positive | None
    array: Count
    largest_array: Annotated[int, Field(ge=1, le=MOST)] | None
    requeues: Annotated[int, Field(ge=0, le=1000)]
    sbatch: Sbatch

    def do(self, work: Work) -> None:
        """Submit what is missing of the plan, and the report; return at once.

        Raises UserError while the same sweep's jobs are in the queue.
        """
        for folder in work.same():
            if numbers := queued(folder / "slurm"):
                raise UserError(
                    f"this sweep is in the queue already, as {', '.join(numbers)}.\n"
                    f"Try: unlearnbench status {folder / 'plan.jsonl'}"
                )
        numbers = submit(work.levels(self.gpus), self, work.folder / "slurm")
        log.info("submitted as %s; unlearnbench status %s", ", ".join(numbers), work.folder / "plan.jsonl")


def submit(levels: Sequence[Level], settings: Slurm, folder: Path) -> list[str]:
    """Submit an array for each level that has commands and return the job numbers; scripts and logs go to `folder`.

    Raises UserError where SLURM is not here or refuses an array; the arrays before it are then cancelled.
    """
    wanted = list(pairs(levels))
    if not wanted:
        return []
    _check_tools()
    from unlearnbench.runners.arrays import Arrays

    folder.mkdir(parents=True, exist_ok=True)
    for _, level in wanted:
        _warn_of_time(level, settings)
    largest = settings.largest_array or largest_array()
    submitted: list[str] = []
    before: list[str] = []
    try:
        for _, level in wanted:
            jobs = []
            for part in level.parts(largest):
                jobs.append(Arrays(folder, part, settings, dependency(before)).start())
                submitted.append(jobs[-1])
            before = jobs
    except BaseException:
        if submitted:
            subprocess.run(["scancel", *submitted], check=False)
        raise
    return submitted


def dependency(before: Sequence[str]) -> str | None:
    """Return what an array waits for, in sbatch's words; `before` are the arrays of the level before."""
    return "afterany:" + ":".join(before) if before else None


def largest_array() -> int:
    """Return how many tasks an array of this cluster may have; the usual number where there is no cluster."""
    try:
        shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return USUAL_LARGEST
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown.stdout, re.MULTILINE)
    return min(max(1, int(found[1]) - 1), MOST) if found else USUAL_LARGEST


def queued(folder: Path) -> list[str]:
    """Return the arrays submitted from `folder` that still wait or run, by their job numbers."""
    ours = {path.stem.rpartition("_")[2] for path in folder.glob("*_*.sh")}
    if not ours or shutil.which("squeue") is None:
        return []
    words = ["squeue", "-h", "-u", getpass.getuser(), "-o", "%F"]
    shown = subprocess.run(words, capture_output=True, text=True, check=False)
    return sorted(ours.intersection(shown.stdout.split()), key=int)


def need_submitit(words: str) -> None:
    """Raise UserError where submitit is missing; `words` are what needs it."""
    if importlib.util.find_spec("submitit") is None:
        raise UserError(f"{words} needs submitit, which is not installed.\nTry: pip install 'unlearnbench[slurm]'")


def _check_tools() -> None:
    """Raise UserError where submitit or SLURM's commands are missing."""
    need_submitit("runner=slurm")
    if shutil.which("sbatch") is None:
        raise UserError(
            "runner=slurm needs SLURM's command sbatch, which is not in the PATH.\n"
            "Try: the same command on a login node of the cluster, or runner=local"
        )


def _warn_of_time(level: Level, settings: Slurm) -> None:
    """Warn where a task is likely to take longer than its time limit."""
    longest = max(level.seconds) / 60
    if longest > settings.minutes:
        log.warning(
            "%s: a task is estimated at %.0f minutes, over the limit of %d. Try: runner.minutes=%d",
            level.name, longest, settings.minutes, 2 * longest,
        )  # fmt: skip
