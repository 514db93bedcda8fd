"""The sums of a run folder: the SHA-256 of its files, to detect damage and mixed-up folders.

They show whether a run was changed, but are not a signature: whoever rewrites a file can rewrite its sum. run.log is
left out because nothing reads it; figures are included because a report shows them.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unlearnbench.files import leftovers, stored
from unlearnbench.files.digests import file_digest, known_digest
from unlearnbench.files.durable import write_durably

NAME = "sums.json"
LEFT_OUT = (NAME, "run.log")
READ_WHOLE = ("scores", "model", "plots", "exposed")
"""Folders that we read by pattern, so that extra files count as damage; elsewhere they may be notes."""
ALWAYS = ("config.yaml", "result.json")
DONE = ("metrics.csv", "splits.npz")
"""The files that every run must have, and those that every finished run must have."""
SHOWN = 3
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write(folder: Path) -> None:
    """Write sums.json, the last file of a run folder."""
    _write(folder, {name: file_digest(folder / name) for name in _files(folder)})


def record(folder: Path, name: str) -> None:
    """Write the sums of a folder in which only one file counts."""
    _write(folder, {name: file_digest(folder / name)})


def changed(folder: Path, name: str) -> str:
    """Return what is wrong with a file whose sum `record` wrote.

    "" if it is sound or there are no sums.
    """
    if not (folder / NAME).exists():
        return ""
    try:
        return _changed(folder / name, name, str(stored.mapping(folder / NAME).get(name)), file_digest)
    except (OSError, ValueError) as error:
        return stored.why(error)


def renew(folder: Path, name: str) -> None:
    """Update the sum of one rewritten file; keep the sums of the others."""
    _write(folder, {**stored.mapping(folder / NAME), name: file_digest(folder / name)})


def damage(folder: Path, digest: Callable[[Path], str] = known_digest) -> list[str]:
    """Return what is wrong with a run folder, one line per problem; empty if it is unchanged.

    The default `digest` reads a large file again only if its size, times or inode have changed.
    """
    try:
        sums = stored.mapping(folder / NAME)
    except (OSError, ValueError) as error:
        return [stored.why(error)]
    if not sums or not all(isinstance(value, str) and _SHA256.fullmatch(value) for value in sums.values()):
        return [f"{NAME} holds something other than SHA-256 sums by file"]
    found = _files(folder)
    lines = [f"{name} is missing" for name in sorted(sums.keys() - set(found))]
    lines += [line for name in found if name in sums and (line := _changed(folder / name, name, sums[name], digest))]
    more = (name for name in found if name not in sums and name.split("/")[0] in READ_WHOLE)
    lines += [f"{name} was not there when the run ended" for name in more]
    return lines or _misfits(folder, sums)


def told(lines: list[str]) -> str:
    """Join the first few problems into one line."""
    more = f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + more


def _write(folder: Path, sums: dict[str, Any]) -> None:
    with leftovers.part(folder.parent) as part:
        write_durably(part, (json.dumps(sums, indent=1, sort_keys=True) + "\n").encode())
        part.replace(folder / NAME)


def _files(folder: Path) -> list[str]:
    """Return the names of a run's files, sorted, without hidden ones; do not follow linked folders."""
    found = []
    for place, _, names in os.walk(folder):
        below = Path(place).relative_to(folder)
        found += [(below / name).as_posix() for name in names]
    return sorted(
        name for name in found if name not in LEFT_OUT and not any(p.startswith(".") for p in name.split("/"))
    )


def _changed(file: Path, name: str, sha256: str, digest: Callable[[Path], str]) -> str:
    """Return what is wrong with a listed file, or "" if its sum is right."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return f"{name} is not a regular file"
        return "" if digest(file) == sha256 else f"{name} has changed since the run ended"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"


def _misfits(folder: Path, sums: dict[str, Any]) -> list[str]:
    """Return how sound files do not fit this run: missing ones, or another run's name."""
    try:
        result = stored.mapping(folder / "result.json")
    except (OSError, ValueError) as error:
        return [stored.why(error)]
    done = result.get("status") == "done"
    lines = [f"{NAME} does not list {name}" for name in (*ALWAYS, *(DONE if done else ())) if name not in sums]
    if done and not any(name.startswith("scores/") for name in sums):
        lines.append(f"{NAME} lists no scores")
    fitting = "_".join(str(result.get(name)) for name in ("method", "model", "dataset", "run_id"))
    fitting = fitting.replace(":", "_")  # of external:NAME
    if Path(os.path.realpath(folder)).name != fitting:
        lines.append(f"the folder's name does not fit the run in it: expected {fitting[:255]}")
    return lines
