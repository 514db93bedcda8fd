"""The runner that starts worker processes on this machine, one for each GPU or each share of the cores."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from unlearnbench import signals
from unlearnbench.errors import DONE, FAILED
from unlearnbench.machine.threads import Threads, automatic
from unlearnbench.ranges import Count
from unlearnbench.runners.runner import Work

log = logging.getLogger("unlearnbench")

LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Local:
    """Settings of runner=local: how many processes, and with how many threads each.

    `threads: auto` divides the cores that this process may use among the workers.
    """

    away: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    workers: Count
    threads: Threads

    def do(self, work: Work) -> None:
        """Have workers do the jobs, and show how far they are; return when all have ended.

        While they begin, the plan's stages are laid out here, so that `status` knows them.
        """
        folder = work.folder / "logs"
        folder.mkdir(exist_ok=True)
        command = work.command()
        running = [_started(command, _log(folder, number), number, self) for number in range(self.workers)]

        def stop() -> None:
            for process in running:
                process.terminate()

        signals.at_end(stop)
        try:
            with work.watched(self.workers) as look:
                while any(process.poll() is None for process in running):
                    look()
                    time.sleep(LOOK_SECONDS)
                look()
        finally:
            signals.no_longer(stop)
            stop()
        for number, process in enumerate(running):
            if process.returncode not in (DONE, FAILED):
                log.error(
                    "worker %d ended with exit status %d; see %s", number, process.returncode, _log(folder, number)
                )


def _log(folder: Path, number: int) -> Path:
    return folder / f"worker_{number}.log"


def _started(command: Sequence[str], log: Path, number: int, runner: Local) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            command, env={**os.environ, **_share(number, runner)}, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )


def _share(number: int, runner: Local) -> Mapping[str, str]:
    """Return the environment that gives a worker its GPU and its share of the cores."""
    threads = automatic() // runner.workers if runner.threads == "auto" else runner.threads
    share = {"OMP_NUM_THREADS": str(max(1, threads))}
    gpus = _gpus()
    return share | ({"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {})


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA names them; none where there is none."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [one for one in named.split(",") if one]
    if not Path("/proc/driver/nvidia/version").exists():
        return []
    return [str(number) for number, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]
