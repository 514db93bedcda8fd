"""What a run was made with: the command as typed, the versions, the git revision and the machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench import __version__
from unlearnbench.machine.devices import name_of, on_cuda

if TYPE_CHECKING:
    from unlearnbench.machine.precision import Precision

PACKAGES = ("torch", "torchvision", "transformers", "peft", "numpy", "scikit-learn", "hydra-core")
TYPED = "UNLEARNBENCH_COMMAND"
"""Environment variable with the command line as typed, so that worker processes know it too."""


def typed(words: Sequence[str]) -> None:
    """Remember the words typed after `unlearnbench`."""
    os.environ[TYPED] = shlex.join(["unlearnbench", *words])


def command(overrides: Sequence[str]) -> str:
    """Return this process's command line, or in Python code one that would make the same run."""
    return os.environ.get(TYPED) or shlex.join(["unlearnbench", "run", *overrides])


def versions() -> dict[str, str]:
    """Return the versions of unlearnbench, Python and the main dependencies."""
    found = {"unlearnbench": __version__, "python": sys.version.split()[0]}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def git_revision() -> str | None:
    """Return the checkout's git revision, with + for changes; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False).stdout

    return (git("rev-parse", "HEAD").strip() + ("+" if git("status", "--porcelain").strip() else "")) or None


def circumstances(precision: Precision) -> dict[str, Any]:
    """Return the circumstances that affect the seconds of a stage that starts now.

    `load` is the mean over the last minute; `busy` says whether other work needs the cores.
    """
    import torch

    from unlearnbench.machine.threads import load

    cuda, seen = on_cuda(precision.device), load()
    return {
        "device": precision.device,
        "processor": name_of(precision.device) if cuda else processor(),
        "threads": torch.get_num_threads(),
        "precision": precision.name,
        "load": seen.average,
        "busy": seen.busy,
    }


def processor() -> str:
    """Return the CPU's name, or the architecture's if the system does not tell it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
