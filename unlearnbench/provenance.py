"""What a run was made with: the command as it was typed, the versions, the revision of the checkout."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unlearnbench import __version__

PACKAGES = ("torch", "torchvision", "transformers", "peft", "numpy", "scikit-learn", "hydra-core")
TYPED = "UNLEARNBENCH_COMMAND"
"""Environment variable with the command line as it was typed, so that a launcher's worker processes know it too."""


def typed(words: Sequence[str]) -> None:
    """Remember the words that were typed after `unlearnbench`."""
    os.environ[TYPED] = shlex.join(["unlearnbench", *words])


def command(overrides: Sequence[str]) -> str:
    """Return the command line of this process, or, from Python, the one that would make the same run."""
    return os.environ.get(TYPED) or shlex.join(["unlearnbench", "run", *overrides])


def versions() -> dict[str, str]:
    """Return the versions of the package, Python and what computes."""
    found = {"unlearnbench": __version__, "python": sys.version.split()[0]}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def git_revision() -> str | None:
    """Return the revision of the checkout the package runs from, with a + for uncommitted changes; None elsewhere."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False).stdout

    return (git("rev-parse", "HEAD").strip() + ("+" if git("status", "--porcelain").strip() else "")) or None
