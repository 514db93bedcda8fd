"""The facts that a report reads from a run, typed.

A malformed result.json is a ValueError, and the run is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from unlearnbench.files import stored

Name = Annotated[str, Field(max_length=10_000)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amounts = Mapping[str, Annotated[Finite, Field(ge=0)]]
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Premise:
    """Whether there was anything to unlearn, as recorded by a run on text."""

    about: Name
    holds: bool
    degenerate: bool
    text: Name


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Which rows a run takes the user's own original to have seen."""

    text: Name


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A run's result.json: its identity, its status, and what a finished run adds."""

    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    experiment: Name
    dataset: Name
    forget: Name
    model: Name
    method: Name
    seed: Seed
    status: Literal["done", "skipped", "diverged", "failed"]
    unlearn_seed: Seed | None = None
    draw: Seed = 0
    versions: Mapping[Name, Name]
    reason: Annotated[str, Field(max_length=1_000_000)] = ""
    setting: Name = ""
    method_setting: Name = ""
    evaluation_settings: Annotated[Mapping[Name, Name], Field(max_length=100)] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    command: str = ""
    git_revision: Name | None = None
    reported: Annotated[tuple[dict[str, Any], ...], Field(max_length=10_000)] = ()
    weights_changed: bool | None = None
    cost_ratio: Finite | None = None
    compute_ratio: Finite | None = None
    cost_note: Name = ""
    base_note: Name = ""
    device: Name = ""
    threads: Annotated[int, Field(ge=1, le=2**31)] | None = None
    precision: Name = ""
    started: Name = ""
    requests: Annotated[int, Field(ge=1)] = 1
    whole_class: bool | None = None
    sha256: Annotated[Mapping[Name, Mapping[Name, Name]], Field(max_length=100)] = field(default_factory=dict)
    """Digests of the `weights` of each model as stored, and of the `data` of each split as the task reads it."""
    deterministic: bool | None = None
    seconds: Amounts = field(default_factory=dict)
    validation_seconds: Amounts = field(default_factory=dict)
    preparation_seconds: Amounts = field(default_factory=dict)
    cpu_seconds: Amounts = field(default_factory=dict)
    gpu_seconds: Amounts = field(default_factory=dict)
    peak_mib: Amounts = field(default_factory=dict)
    examples_seen: Amounts = field(default_factory=dict)
    rows: Annotated[Mapping[Name, Annotated[int, Field(ge=0)]], Field(max_length=100)] = field(default_factory=dict)
    scored: Annotated[Mapping[Name, Annotated[int, Field(ge=0)]], Field(max_length=100)] = field(default_factory=dict)
    remarks: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    references: Annotated[int, Field(ge=0)] | None = None
    margin: Annotated[Mapping[Name, Annotated[Finite, Field(gt=0)]], Field(max_length=1000)] = field(
        default_factory=dict
    )
    premise: Premise | None = None
    checkpoint: Checkpoint | None = None
    headline: Annotated[Mapping[Name, tuple[tuple[Name, Name], ...]], Field(max_length=100)] = field(
        default_factory=dict
    )
    """What a leaderboard shows of each evaluation: metrics of the unlearned model, each with its split."""
    across: Annotated[Mapping[Name, Mapping[Name, Finite]], Field(max_length=100)] = field(default_factory=dict)
    """The settings of the evaluations over seeds that the run asked for."""

    def __post_init__(self) -> None:
        if self.status == "done" and self.weights_changed is None:
            raise ValueError("a finished run needs weights_changed")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A row of jobs.csv: the status of a sweep's job, and its run folder, if any."""

    job: Annotated[int, Field(ge=0)]
    experiment: Name = ""
    dataset: Name = ""
    forget: Name = ""
    model: Name = ""
    method: Name = ""
    seed: Seed | None = None
    status: Literal["done", "skipped", "diverged", "failed"]
    run_folder: Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]
    reason: Annotated[str, Field(max_length=1_000_000)] = ""


def read(folder: Path) -> Facts:
    """Read a run folder's result.json; raise OSError or ValueError if it is damaged."""
    try:
        found: Facts = _adapter(Facts).validate_json(stored.content(folder / "result.json"), strict=True)
    except ValidationError as error:
        raise ValueError(f"result.json: {_told(error)}") from error
    return found


def job(row: Mapping[str | None, Any]) -> Job:
    """Read a row of jobs.csv, given as text by column; raise ValueError if it is malformed."""
    known = {name: value for name, value in row.items() if value != "" or name == "run_folder"}
    try:
        found: Job = _adapter(Job).validate_python(known)
    except ValidationError as error:
        raise ValueError(_told(error)) from error
    return found


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _told(error: ValidationError) -> str:
    """Return pydantic's findings in one line."""
    found = [
        (".".join(map(str, one["loc"])), one["msg"]) for one in error.errors(include_url=False, include_input=False)
    ]
    lines = [f"{place}: {what}" if place else what for place, what in found]
    return "; ".join(lines[:SHOWN]) + (f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
