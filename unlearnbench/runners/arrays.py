"""A job array of commands as a script for sbatch, by submitit's executor without its pickled functions.

submitit runs Python functions: it pickles each, and the job unpickles it, bypasses SIGTERM and requeues by a count
in the pickle. We write no pickles, and our workers need SIGTERM. So this takes submitit's parameters, its script
and its reading of job numbers, and puts commands into the script (docs/decisions/0034-submitit-without-pickles.md).
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from submitit.slurm.slurm import SlurmExecutor

from unlearnbench.errors import UserError
from unlearnbench.runners.levels import Level

if TYPE_CHECKING:
    from unlearnbench.runners.slurm import Slurm

WARNING_SECONDS = 120
"""How long before the time limit a task is told to stop."""
WORKER = """\
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}}"  # where the cluster does not bind tasks to cores
# Out of time or preempted: stop the worker and go back into the queue, unless the job was cancelled.
again() {{
  kill -TERM "$worker" 2>/dev/null
  wait "$worker"
  status=$?
  [ "$status" = 0 ] && exit 0
  task=${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}
  case "$(scontrol show job -o "$task")" in
    *" JobState=RUNNING "*) [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ] && scontrol requeue "$task" ;;
  esac
  exit "$status"
}}
case "$SLURM_ARRAY_TASK_ID" in
{cases}
esac
trap again TERM
"$@" &
worker=$!
wait "$worker"
"""
"""Python is not the job's first process, since something must ask for the requeue once it has stopped."""


def worker(level: Level, requeues: int) -> str:
    """Return shell text that runs the command of this task of the array."""
    cases = (f"  {number}) set -- {shlex.join(command)} ;;" for number, command in enumerate(level.commands))
    return WORKER.format(requeues=requeues, cases="\n".join(cases)).rstrip()


class Arrays(SlurmExecutor):
    """submitit's executor for SLURM over the commands of one level."""

    def __init__(self, folder: Path, level: Level, settings: Slurm, dependency: str | None = None) -> None:
        super().__init__(folder)
        self.level, self.requeues = level, settings.requeues
        memory = settings.memory_gib
        self.update_parameters(
            job_name=level.name,
            partition=settings.partition,
            time=settings.minutes,
            cpus_per_task=settings.cpus,
            gpus_per_node=level.gpus or None,
            mem=None if memory is None else f"{max(1, round(memory * 1024))}M",
            array_parallelism=settings.array,
            dependency=dependency,
            wckey=None,
            stderr_to_stdout=True,
            use_srun=False,
            additional_parameters={
                **settings.sbatch.words(),
                "kill-on-invalid-dep": "yes",
                "output": str(self.folder / f"{level.name}_%A_%a.log").replace("%", "%%").replace("%%A_%%a", "%A_%a"),
                "requeue": True,
                "signal": f"B:TERM@{WARNING_SECONDS}",
            },
        )
        self.parameters["map_count"] = len(level.commands)  # as submitit sets it for its own arrays

    @classmethod
    def affinity(cls) -> int:
        """Return that this can be used: a script can be written where SLURM is not."""
        return 2

    def text(self) -> str:
        """Return the script."""
        return self._make_submission_file_text(worker(self.level, self.requeues), "")

    def start(self) -> str:
        """Submit the script, keep it as LEVEL_JOB.sh and return the job's number; raise UserError if SLURM refuses."""
        script = self.folder / f"{self.level.name}.sh"
        script.write_text(self.text())
        done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
        if done.returncode:
            reasons = re.findall(r"sbatch: error: (.*)", done.stderr) or [done.stderr.strip()]
            raise UserError(
                f"SLURM refused the array {self.level.name}: {'; '.join(reasons)}\nTry: runner.partition=NAME, "
                f"runner.sbatch.account=NAME or runner.minutes=N, as your cluster wants them (see sinfo)"
            )
        job = self._get_job_id_from_submission_command(done.stdout)
        script.rename(script.with_name(f"{self.level.name}_{job}.sh"))
        return job
