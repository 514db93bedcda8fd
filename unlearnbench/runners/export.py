"""A plan for another program to run: a script of sbatch lines, a Snakefile, or Kubernetes Jobs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from unlearnbench.errors import UserError
from unlearnbench.runners.kubernetes import jobs
from unlearnbench.runners.levels import Level, pairs
from unlearnbench.runners.slurm import Slurm, dependency, largest_array, need_submitit
from unlearnbench.runners.snakemake import snakefile

Kind = Literal["sbatch", "snakemake", "kubernetes"]
SCRIPT = """\
#!/bin/sh
# Submits {tasks} tasks in {arrays} job arrays, each level after the one before it, and prints the job numbers.
set -eu
mkdir -p {folder}
"""
ARRAY = """
{name}_script() {{
  cat <<'END_OF_SCRIPT'
{script}
END_OF_SCRIPT
}}
{name}=$({name}_script | sbatch --parsable{dependency})
{name}=${{{name}%%;*}}
echo "{level} ${name}"
"""


def export(levels: Sequence[Level], settings: Slurm, kind: Kind, folder: Path = Path("jobs")) -> str:
    """Return the text of a file that runs these levels; its logs or markers go to `folder`.

    Raises UserError where nothing is left to run, or where `kind` needs a package that is not installed.
    """
    wanted = list(pairs(levels))
    if not wanted:
        raise UserError("nothing is left to run, so there is nothing to export.\nTry: unlearnbench status")
    if kind == "sbatch":
        return sbatch_script(wanted, settings, folder.absolute())
    if kind == "snakemake":
        return snakefile(wanted, settings, folder.absolute())
    return jobs([level for _, level in wanted], settings, Path.cwd())


def sbatch_script(wanted: Sequence[tuple[Level | None, Level]], settings: Slurm, folder: Path) -> str:
    """Return a shell script that does what `submit` does: the same arrays, with the same scripts."""
    need_submitit("--export sbatch")
    from unlearnbench.runners.arrays import Arrays

    largest = settings.largest_array or largest_array()
    parts = {level.name: level.parts(largest) for _, level in wanted}
    tasks = sum(len(level.commands) for _, level in wanted)
    text = SCRIPT.format(tasks=tasks, arrays=sum(map(len, parts.values())), folder=shlex.quote(str(folder)))
    for before, level in wanted:
        waits = [f"${before.name}_{number}" for number in range(len(parts[before.name]))] if before else []
        for number, part in enumerate(parts[level.name]):
            words = dependency(waits)
            text += ARRAY.format(
                name=f"{level.name}_{number}",
                level=level.name,
                script=Arrays(folder, part, settings).text().rstrip("\n"),
                dependency=f' "--dependency={words}"' if words else "",
            )
    return text
