"""A plan as Kubernetes Jobs: one Indexed Job a level, of which the first starts and the others are suspended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnbench.runners.levels import Level
from unlearnbench.runners.slurm import Slurm

HEADER = """\
# One Indexed Job per level. Set `image` to one that has unlearnbench, and `claimName` to the volume that holds
# {place}
# where the commands read the plan and write their results.
# Kubernetes has no order among Jobs, so all but the first are suspended. Release each when the one before it has
# ended (condition=failed, if some of its tasks failed):
#   kubectl apply -f THIS_FILE
"""
NEXT = """\
#   kubectl wait --for=condition=complete --timeout=-1s job/{before}
#   kubectl patch job/{name} --type=strategic --patch '{{"spec":{{"suspend":false}}}}'
"""
SCRIPT = """\
case "$JOB_COMPLETION_INDEX" in
{cases}
esac
exec "$@"
"""
RETRIES = 3
STOP_SECONDS = 120
"""How long a pod may take to stop after SIGTERM."""


def jobs(levels: Sequence[Level], settings: Slurm, place: Path) -> str:
    """Return the Jobs as YAML documents; `place` is the folder that the pods need at the same path."""
    names = [_name(level) for level in levels]
    text = HEADER.format(place=place)
    text += "".join(NEXT.format(before=names[at], name=name) for at, name in enumerate(names[1:]))
    return text + "".join(_yaml(job(level, settings, place, number > 0)) for number, level in enumerate(levels))


def job(level: Level, settings: Slurm, place: Path, suspended: bool) -> dict[str, Any]:
    """Return the Job of one level, as Kubernetes' API takes it (batch/v1)."""
    texts = (shlex.join(command).replace("$", "$$") for command in level.commands)  # Kubernetes makes $$ one $ again
    cases = (f"  {number}) set -- {text} ;;" for number, text in enumerate(texts))
    container = {
        "name": "worker",
        "image": "unlearnbench:latest",
        "workingDir": str(place),
        "command": ["sh", "-c", SCRIPT.format(cases="\n".join(cases))],
        "resources": _resources(level, settings),
        "volumeMounts": [{"name": "place", "mountPath": str(place)}],
    }
    pod = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": settings.minutes * 60,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "containers": [container],
        "volumes": [{"name": "place", "persistentVolumeClaim": {"claimName": "unlearnbench"}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _name(level)},
        "spec": {
            "completionMode": "Indexed",
            "completions": len(level.commands),
            "parallelism": min(settings.array, len(level.commands)),
            "backoffLimitPerIndex": RETRIES,
            "suspend": suspended,
            "template": {"spec": pod},
        },
    }


def _yaml(document: dict[str, Any]) -> str:
    """Return a document of YAML, with scripts as they are written."""
    import yaml  # type: ignore[import-untyped]

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        pass

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    written: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, explicit_start=True)
    return written


def _name(level: Level) -> str:
    """Return the Job's name, in which Kubernetes allows no underscores."""
    return f"unlearnbench-{level.name.replace('_', '-')}"


def _resources(level: Level, settings: Slurm) -> dict[str, dict[str, str]]:
    """Return what a pod asks for; GPUs are given as a limit."""
    requests = {"cpu": str(settings.cpus)}
    if settings.memory_gib is not None:
        requests["memory"] = f"{max(1, round(settings.memory_gib * 1024))}Mi"
    return {"requests": requests, **({"limits": {"nvidia.com/gpu": str(level.gpus)}} if level.gpus else {})}
