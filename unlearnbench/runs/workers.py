"""A plan as commands: that of a worker, and those of a cluster by level, of which the last writes the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from unlearnbench.errors import UserError
from unlearnbench.request import plugins
from unlearnbench.runners.levels import Level
from unlearnbench.runs.plan import Plan
from unlearnbench.runs.sweep import Sweep

REPORT_SECONDS = 60.0


def flags(folders: Sequence[Path]) -> list[str]:
    """Return the flags with which a worker trusts and reads what this process does."""
    return [word for folder in folders for word in ("--config-dir", str(folder))] + [
        word for file in plugins.files() for word in ("--plugin", str(file))
    ]


def worker(plan: Path, folders: Sequence[Path]) -> list[str]:
    """Return a worker's command line; -P keeps Python from running modules of the current folder."""
    here = Path(__file__).resolve().parents[2] == Path.cwd()  # a checkout that is not installed is only found there
    return [sys.executable, *([] if here else ["-P"]), "-m", "unlearnbench", "work", str(plan), *flags(folders)]


def levels(plan: Plan, file: Path, folders: Sequence[Path], gpus: int) -> list[Level]:
    """Return a plan's chunks as levels of commands: trainings, then whole jobs, then the report."""
    command = tuple(worker(file.absolute(), folders))
    found = []
    for name in ("train", "unlearn"):
        chunks = [(number, chunk) for number, chunk in enumerate(plan.chunks) if chunk.level == name]
        commands = tuple((*command, "--chunk", str(number)) for number, _ in chunks)
        seconds = tuple(chunk.seconds for _, chunk in chunks)
        found.append(Level(name, commands, gpus=gpus, seconds=seconds))
    report = (*command, "--report")
    return [*found, Level("report", (report,), gpus=0, seconds=(REPORT_SECONDS,))]


def needs_gpu(sweep: Sweep) -> bool:
    """Return whether the jobs compute on GPUs; raise UserError where each node would decide that by itself."""
    devices = {job.assembled.settings.device for job in sweep.jobs.values()}
    if "auto" in devices:
        raise UserError(
            "device=auto is decided on each node, and results depend on it.\nTry: device=cuda, or device=cpu"
        )
    return any(device.startswith("cuda") for device in devices)
