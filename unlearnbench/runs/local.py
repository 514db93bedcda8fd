"""runner=local: worker processes on this machine, one for each GPU or each share of the cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from unlearnbench import signals
from unlearnbench.graph.cache import Cache
from unlearnbench.machine.threads import automatic
from unlearnbench.request import plugins
from unlearnbench.runners.claims import Claims
from unlearnbench.runners.local import Local
from unlearnbench.runs.left import Left
from unlearnbench.runs.plan import with_stages
from unlearnbench.runs.progress import Watch
from unlearnbench.runs.sweep import Sweep

LOOK_SECONDS = 0.5


def flags(folders: Sequence[Path]) -> list[str]:
    """Return the flags with which a worker trusts and reads what this process does."""
    return [word for folder in folders for word in ("--config-dir", str(folder))] + [
        word for file in plugins.files() for word in ("--plugin", str(file))
    ]


def worker(plan: Path, folders: Sequence[Path]) -> list[str]:
    """Return a worker's command line; -P keeps Python from running modules of the current folder."""
    here = Path(__file__).resolve().parents[2] == Path.cwd()  # a checkout that is not installed is only found there
    return [sys.executable, *([] if here else ["-P"]), "-m", "unlearnbench", "work", str(plan), *flags(folders)]


def work(sweep: Sweep, plan: Path, outputs: Path, runner: Local) -> None:
    """Have workers do a plan, and show how far they are; return when all have ended.

    While they begin, the plan's stages are laid out here, so that `status` knows them.
    """
    folder = plan.parent / "logs"
    folder.mkdir(exist_ok=True)
    command = worker(plan, sweep.folders)
    running = [_started(command, folder / f"worker_{number}.log", number, runner) for number in range(runner.workers)]

    def stop() -> None:
        for process in running:
            process.terminate()

    signals.at_end(stop)
    try:
        planned = with_stages(sweep, outputs)
        planned.write(plan)
        left = Left(planned.entries, Cache(outputs / "cache"))
        with Watch(sweep, Claims(outputs / "cache" / "claims"), plan, left, runner.workers) as watch:
            while any(process.poll() is None for process in running):
                watch.look()
                time.sleep(LOOK_SECONDS)
            watch.look()
    finally:
        signals.no_longer(stop)
        stop()


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
