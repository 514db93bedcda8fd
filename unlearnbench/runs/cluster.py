"""runner=slurm: a plan as job arrays, submitted at once; the last job writes the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlearnbench.errors import UserError
from unlearnbench.runners.levels import Level
from unlearnbench.runners.slurm import Slurm, queued, submit
from unlearnbench.runs.local import worker
from unlearnbench.runs.plan import Plan, read, with_stages
from unlearnbench.runs.sweep import Sweep

REPORT_SECONDS = 60.0


def send(sweep: Sweep, file: Path, outputs: Path, settings: Slurm) -> list[str]:
    """Write a sweep's plan and submit it; return the job numbers. Nothing is submitted where all is done."""
    _refuse_again(sweep, file)
    plan = with_stages(sweep, outputs)
    plan.write(file)
    gpus = settings.gpus if needs_gpu(sweep) else 0
    return submit(levels(plan, file, sweep.folders, gpus), settings, file.parent / "slurm")


def levels(plan: Plan, file: Path, folders: Sequence[Path], gpus: int) -> list[Level]:
    """Return a plan's chunks as levels of commands: trainings, then whole jobs, then the report."""
    command = tuple(worker(file.absolute(), folders))
    found = []
    for name in ("train", "unlearn"):
        chunks = [(number, chunk) for number, chunk in enumerate(plan.chunks) if chunk.level == name]
        commands = tuple((*command, "--chunk", str(number)) for number, _ in chunks)
        seconds = tuple(chunk.seconds for _, chunk in chunks)
        found.append(Level(name, commands, aligned=False, gpus=gpus, seconds=seconds))
    report = (*command, "--report")
    return [*found, Level("report", (report,), aligned=False, gpus=0, seconds=(REPORT_SECONDS,))]


def needs_gpu(sweep: Sweep) -> bool:
    """Return whether the jobs compute on GPUs; raise UserError where each node would decide that by itself."""
    devices = {job.assembled.settings.device for job in sweep.jobs.values()}
    if "auto" in devices:
        raise UserError(
            "device=auto is decided on each node, and results depend on it.\nTry: device=cuda, or device=cpu"
        )
    return any(device.startswith("cuda") for device in devices)


def _refuse_again(sweep: Sweep, file: Path) -> None:
    """Raise UserError while the same sweep's jobs are in the queue."""
    for other in file.parent.parent.glob("*/plan.jsonl"):
        if other != file and read(other).words == tuple(sweep.words) and (jobs := queued(other.parent / "slurm")):
            raise UserError(
                f"this sweep is in the queue already, as {', '.join(jobs)}.\nTry: unlearnbench status {other}"
            )
