"""The command line under a watch: how long it took, and the most memory it held."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Watched:
    """What a process said and used; a negative code is the signal that ended it."""

    code: int
    said: str
    seconds: float
    peak_mib: float


def watched(*words: str, folder: Path, seconds: int = 60, address_gib: int = 0) -> Watched:
    """Run `unlearnbench WORDS` in a folder; `address_gib` limits its address space, `seconds` its processor time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        if address_gib:
            resource.setrlimit(resource.RLIMIT_AS, (address_gib * 2**30,) * 2)

    started = time.monotonic()
    with (folder / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "unlearnbench", *words],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, preexec_fn=limit,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "120"},
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        text = (folder / "said.txt").read_text(errors="replace")
    return Watched(process.returncode, text, time.monotonic() - started, used.ru_maxrss / 1024)
