"""Plans: what the jobs of a line would compute, what of it is there, and how long the rest should take."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, stored
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.stage import Stage, in_order
from unlearnbench.runs.left import Took, took

if TYPE_CHECKING:
    from unlearnbench.runs.sweep import Sweep

T = TypeVar("T")

CHUNK_SECONDS = 600.0
"""What a chunk should take at least, so that imports and data are paid once: shorter stages are put together."""
UNKNOWN_SECONDS = 60.0
"""What a stage is taken to need where no like one has been computed yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A stage of a plan; `jobs` are the numbers of those that read its result, `seconds` None where nobody knows."""

    key: str
    kind: str
    label: str
    level: int
    parents: tuple[str, ...]
    jobs: tuple[int, ...]
    seconds: float | None
    present: bool
    like: str = ""


@dataclass(frozen=True)
class Chunk:
    """What one worker does: the trainings of some originals and references, or whole jobs."""

    level: str
    keys: tuple[str, ...]
    jobs: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The words of a line, where its results go, and its stages; `rows` are those of its first job, by split.

    `choosing` counts the jobs of which only the stages that choose their forget set are known yet.
    """

    words: tuple[str, ...]
    parameters: tuple[str, ...]
    folders: tuple[str, ...]
    outputs: str
    entries: tuple[Entry, ...]
    rows: Mapping[str, int] = field(default_factory=dict)
    choosing: int = 0

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """Return the missing work in chunks: trainings from the start first, then whole jobs, by their original."""
        return (*_trainings(self.entries), *_jobs(self.entries))

    def write(self, path: Path) -> None:
        """Write plan.jsonl: the line first, then a stage a line."""
        here = ("entries", "chunks", "rows", "choosing")
        head = {name: value for name, value in vars(self).items() if name not in here}
        lines = [head, *map(asdict, self.entries)]
        leftovers.replace(path, "".join(json.dumps(line) + "\n" for line in lines))


def read(path: Path) -> Plan:
    """Read a plan; raise UserError where it is not one."""
    try:
        head, *lines = map(json.loads, stored.content(path).decode().splitlines())
        entries = tuple(_entry(line) for line in lines)
        listed = [tuple(map(str, head[name])) for name in ("words", "parameters", "folders")]
        words, parameters, folders = listed
        return Plan(words, parameters, folders, str(head["outputs"]), entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not a plan: {error}\nTry: unlearnbench plan [the words of a run] --to FILE"
        ) from error


def _entry(line: Mapping[str, Any]) -> Entry:
    return Entry(**{**line, "parents": tuple(line["parents"]), "jobs": tuple(line["jobs"])})


def of(sweep: Sweep, outputs: Path) -> Plan:
    """Return the plan of a sweep's jobs without their stages: enough for workers that do all of them."""
    return Plan(
        words=tuple(sweep.words),
        parameters=tuple(sweep.parameters),
        folders=tuple(map(str, sweep.folders)),
        outputs=str(outputs.absolute()),
        entries=(),
    )


def with_stages(sweep: Sweep, outputs: Path) -> Plan:
    """Lay out the stages of a sweep's jobs, and look which are there. Nothing is computed.

    One job is laid out at a time: of ten thousand, memory holds the entries alone.
    """
    cache = Cache(outputs / "cache")
    known, entries, readers = took(cache), dict[str, Entry](), dict[str, list[int]]()
    rows: dict[str, int] = {}
    choosing = 0
    for number, job in sweep.drawn():
        rows = rows or {name: len(index) for name, index in job.picture[0].world.splits.arrays().items()}
        choosing += job.rehearsed and bool(job.stages)
        for stage in in_order(job.stages):
            if stage.key not in entries:
                entries[stage.key] = _planned(stage, entries, known, cache)
            readers.setdefault(stage.key, []).append(number)
        job.forget_stages()
    complete = tuple(replace(entries.pop(key), jobs=tuple(numbers)) for key, numbers in readers.items())
    return replace(of(sweep, outputs), entries=complete, rows=rows, choosing=choosing)


def _planned(stage: Stage, before: Mapping[str, Entry], known: Took, cache: Cache) -> Entry:
    """Return the entry of a stage, without its jobs; those of its inputs are among the ones `before`."""
    parents = tuple(before[one.key].key for one in stage.inputs)  # no copies of keys
    return Entry(
        key=stage.key,
        kind=stage.kind,
        label=sys.intern(stage.label),
        level=max((before[one].level + 1 for one in parents), default=0),
        parents=parents,
        jobs=(),
        seconds=known.like(stage.like),
        present=cache.has(stage.key),
        like=stage.like,
    )


def _trainings(entries: Sequence[Entry]) -> Iterator[Chunk]:
    """Yield the missing stages without inputs that others wait for, together until a chunk is long enough."""
    needed = _needed(entries)
    first = [one for one in entries if _is_first(one, needed)]
    for group in _packed([(one, one.seconds) for one in first]):
        jobs = tuple(sorted({one.jobs[0] for one, _ in group}))
        yield Chunk("train", tuple(one.key for one, _ in group), jobs, _total(seconds for _, seconds in group))


def _jobs(entries: Sequence[Entry]) -> Iterator[Chunk]:
    """Yield the jobs that lack stages, those of one original side by side."""
    needed = _needed(entries)
    seconds: dict[int, float] = {}
    root: dict[int, str] = {}
    for one in entries:
        for job in one.jobs:
            root.setdefault(job, one.key)
        if not one.present and not _is_first(one, needed):
            share = (UNKNOWN_SECONDS if one.seconds is None else one.seconds) / len(one.jobs)
            for job in one.jobs:
                seconds[job] = seconds.get(job, 0.0) + share
    place = {key: number for number, key in enumerate(dict.fromkeys(root.values()))}
    order = sorted(seconds, key=lambda job: (place[root[job]], job))
    for group in _packed([(job, seconds[job]) for job in order]):
        yield Chunk("unlearn", (), tuple(job for job, _ in group), _total(taken for _, taken in group))


def _needed(entries: Sequence[Entry]) -> set[str]:
    """Return the stages that missing ones read."""
    return {parent for entry in entries if not entry.present for parent in entry.parents}


def _is_first(entry: Entry, needed: set[str]) -> bool:
    """Return whether a stage is missing, reads nothing, and others wait for it: a training from the start."""
    return not entry.present and entry.level == 0 and entry.key in needed


def _packed(items: Sequence[tuple[T, float | None]]) -> Iterator[list[tuple[T, float | None]]]:
    """Yield the items in groups that take `CHUNK_SECONDS` or more; the last one may take less."""
    group: list[tuple[T, float | None]] = []
    for item in items:
        group.append(item)
        if _total(seconds for _, seconds in group) >= CHUNK_SECONDS:
            yield group
            group = []
    if group:
        yield group


def _total(seconds: Any) -> float:
    return sum(UNKNOWN_SECONDS if one is None else one for one in seconds)
