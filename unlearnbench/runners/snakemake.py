"""A plan as a Snakefile: one rule a level, and an empty marker file for each command that succeeded."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from unlearnbench.errors import UserError
from unlearnbench.runners.levels import Level
from unlearnbench.runners.slurm import Slurm

HEADER = """\
# Run with: snakemake --keep-going --cores N (and --executor slurm, or another, for a cluster)
# A level starts when the one before it has succeeded; `--keep-going` runs what does not depend on a failed command.
# The same command again runs what is missing.

MARKERS = {markers}
COMMANDS = {commands}


def command(level):
    return lambda wildcards: COMMANDS[level][int(wildcards.index)]


def all_of(level):
    return [f"{{MARKERS}}/{{level}}_{{index}}.done" for index in range(len(COMMANDS[level]))]


wildcard_constraints:
    index=r"[0-9]+",


rule all:
    input:
        all_of({last}),
"""
RULE = """

rule {name}:{needs}
    output:
        touch(MARKERS + "/{name}_{{index}}.done"),
    params:
        command=command("{name}"),
    threads: {cpus}
    resources:
        {resources},
    shell:
        "{{params.command}}"
"""


def snakefile(wanted: Sequence[tuple[Level | None, Level]], settings: Slurm, folder: Path) -> str:
    """Return the Snakefile; its markers go to `folder`. Raises UserError where Snakemake cannot write there."""
    if set("{}") & set(str(folder)):
        raise UserError(f"Snakemake reads {{ and }} in the path {folder} as wildcards.\nTry: a folder without them")
    commands = {level.name: [shlex.join(command) for command in level.commands] for _, level in wanted}
    text = HEADER.format(
        markers=_text(str(folder)),
        commands=json.dumps(commands, indent=4),
        last=_text(wanted[-1][1].name),
    )
    for before, level in wanted:
        text += RULE.format(
            name=level.name, needs=_needs(before), cpus=settings.cpus,
            resources=",\n        ".join(f"{name}={value}" for name, value in _resources(level, settings).items()),
        )  # fmt: skip
    return text


def _text(words: str) -> str:
    return json.dumps(words)


def _needs(before: Level | None) -> str:
    """Return the rule's input: all of the level before."""
    return f"\n    input:\n        all_of({_text(before.name)})," if before else ""


def _resources(level: Level, settings: Slurm) -> dict[str, object]:
    """Return what a command needs, by the names that Snakemake's executors know."""
    found: dict[str, object] = {"runtime": settings.minutes}
    if settings.memory_gib is not None:
        found["mem_mb"] = max(1, round(settings.memory_gib * 1024))
    if level.gpus:
        found["gpu"] = level.gpus
    if settings.partition:
        found["slurm_partition"] = _text(settings.partition)
    if settings.sbatch.account:
        found["slurm_account"] = _text(settings.sbatch.account)
    return found
