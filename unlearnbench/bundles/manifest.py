"""What a bundle holds: bundle.json lists every file with its SHA-256, and whose rows it is.

    bundle.json                       the list, and its schema
    README.txt                        what this is and how to check it
    results.csv, runs.csv, summary.csv    the rows of a report
    runs/<folder>/...                 of each run: configuration, result.json, metrics.csv, splits, scores, its sums
    shared/<sha256>                   a file that several runs have, once

So bundle.json's own SHA-256 stands for all of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from unlearnbench.files.zips import PLAIN

SCHEMA: Literal["unlearnbench/bundle/1"] = "unlearnbench/bundle/1"
NAME, README, RUNS = "bundle.json", "README.txt", "runs"
TABLES = ("results.csv", "runs.csv", "summary.csv")
LIMIT = 2**28
"""The most bytes of bundle.json; a run needs about 2,000."""
KEPT = re.compile(r"(requests/\d+/)?(splits\.npz|scores/[^/]+\.npz)|config\.yaml|result\.json|metrics\.csv|sums\.json")
"""The files of a run that a bundle has. Rows that were to be forgotten, transcripts, figures and logs stay where they
are."""
WEIGHTS = re.compile(r"model/.+")
"""Those that it has with --weights."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """bundle.json: `files` by path with their SHA-256, `unlearnbench` the version that packed them."""

    schema: Literal["unlearnbench/bundle/1"]
    unlearnbench: Annotated[str, Field(max_length=100)]
    weights: bool
    files: Annotated[Mapping[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]], Field(max_length=10**6)] = field(
        default_factory=dict
    )

    def text(self) -> bytes:
        """Return bundle.json."""
        return (json.dumps(vars(self), indent=1, sort_keys=True) + "\n").encode()

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(self.files.values())

    def member(self, path: str) -> str:
        """Return the name in the zip of the file at a path: files that are equal are there once."""
        sha256 = self.files[path]
        return f"shared/{sha256}" if self._counts[sha256] > 1 else path

    @cached_property
    def runs(self) -> tuple[str, ...]:
        """The names of the run folders."""
        return tuple(dict.fromkeys(run_of(path) for path in sorted(self.files) if path.startswith(f"{RUNS}/")))


def run_of(path: str) -> str:
    """Return the run folder that a path is in, "" for a table."""
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 2 and parts[0] == RUNS else ""


def read(content: bytes) -> Manifest:
    """Return the manifest in bundle.json; raise ValueError where it is not one."""
    try:
        found: Manifest = TypeAdapter(Manifest).validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise ValueError(f"{NAME} is not {SCHEMA}: {where or 'it'}: {first['msg']}") from error
    except RecursionError as error:
        raise ValueError(f"{NAME} is nested too deeply") from error
    odd = next((path for path in found.files if not _is_ours(path)), None)
    if odd is not None:
        raise ValueError(f"{NAME} lists {odd[:200]!r}, which no bundle has")
    return found


def _is_ours(path: str) -> bool:
    if path in (README, *TABLES):
        return True
    _, _, name = path.removeprefix(f"{RUNS}/").partition("/")
    mine = path.startswith(f"{RUNS}/") and bool(KEPT.fullmatch(name) or WEIGHTS.fullmatch(name))
    return mine and bool(PLAIN.fullmatch(path))
