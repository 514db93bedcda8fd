"""`unlearnbench verify`: what is wrong with a run, a sweep, an outputs folder or a cache; every file is read again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from unlearnbench.errors import UserError, counted
from unlearnbench.files import leftovers, stored, sums
from unlearnbench.files.digests import file_digest
from unlearnbench.report import facts as typed
from unlearnbench.report.collect import jobs, read, runs_below

STAGE = ("tensors.safetensors", "facts.json")


class Verified:
    """What was found wrong, and how many things of each kind were looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[tuple[Path, str]] = []
        self.seen: Counter[str] = Counter()
        self.sound: dict[str, bool] = {}
        """The runs that were looked at: a sweep may name the same ones as another."""

    def wrong(self, place: Path, why: str) -> None:
        """Note a problem with a file or folder."""
        self.problems.append((place, why))

    def lines(self) -> Iterator[str]:
        """Yield a line a problem, what to do about them, and the counts."""
        for place, why in self.problems:
            yield f"{place}: {why}"
        if self.problems:
            yield "Try: the command of a damaged run again, which makes it anew; what nothing needs can be deleted"
        looked = ", ".join(counted(count, kind) for kind, count in self.seen.items())
        count = len(self.problems)
        found = "all is well" if not count else counted(count, "problem")
        yield f"{self.root}: {looked or 'nothing there yet'}: {found}"


def verify(folder: Path) -> Verified:
    """Look at everything in a run, a sweep, an outputs folder or a cache; raise UserError where a folder is none."""
    found = Verified(folder)
    names = _names(folder)
    if names & {"result.json", "metrics.csv", "splits.npz"}:
        _run(found, folder)
    elif "jobs.csv" in names or ".jobs" in names:
        _sweep(found, folder)
    elif names & {"stages", "unfinished", "damaged", "parts"}:
        _cache(found, folder)
    elif names & {"runs", "sweeps", "cache"}:
        _outputs(found, folder)
    elif runs := list(runs_below(folder)):
        for run in runs:
            _run(found, run)
    else:
        raise UserError(
            f"{folder} is no run, sweep, outputs folder or cache.\nTry: unlearnbench verify outputs, or outputs/cache"
        )
    return found


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.\nTry: unlearnbench verify outputs") from error


def _run(found: Verified, folder: Path) -> bool:
    """Look at a run, unless that has been done; return whether it is sound."""
    place = os.path.realpath(folder)
    if place not in found.sound:
        found.seen["run"] += 1
        found.sound[place] = _is_sound(found, folder)
    return found.sound[place]


def _is_sound(found: Verified, folder: Path) -> bool:
    damage = sums.damage(folder, file_digest)
    for line in damage:
        found.wrong(folder, line)
    if damage:
        return False
    try:
        read(folder)
    except (OSError, ValueError) as error:
        found.wrong(folder, stored.why(error))
        return False
    return True


def _sweep(found: Verified, folder: Path) -> None:
    """Look at a sweep's jobs.csv and the runs of its jobs: they must be there and have the job's names."""
    found.seen["sweep"] += 1
    for job in jobs(folder):
        if isinstance(job, str):
            found.wrong(folder / "jobs.csv", job)
            continue
        found.seen["job"] += 1
        if not job.run_folder:
            if job.status == "done":
                found.wrong(folder / "jobs.csv", f"job {job.job} is done and has no run")
            continue
        run = Path(job.run_folder)
        if _run(found, run):
            of = typed.read(run)
            for name in ("method", "model", "dataset", "seed"):
                if getattr(of, name) != getattr(job, name):
                    found.wrong(run, f"its {name} is not that of job {job.job} in {folder / 'jobs.csv'}")


def _outputs(found: Verified, folder: Path) -> None:
    for place in _entries(folder / "runs"):
        if place.name.startswith("."):
            _leftover(found, place)
        elif place.is_dir():
            _run(found, place)
    for place in _entries(folder / "sweeps"):
        if place.is_dir() and not place.name.startswith("."):
            _sweep(found, place)
    if (folder / "cache").is_dir():
        _cache(found, folder / "cache")


def _cache(found: Verified, folder: Path) -> None:
    for stage in _entries(folder / "stages"):
        found.seen["stage"] += 1
        _artefact(found, stage)
    for state in _entries(folder / "unfinished"):
        if state.name.startswith(".") or state.suffix == ".new":
            _leftover(found, state)
        else:
            found.seen["unfinished state"] += 1
            _artefact(found, state)
    for place in _entries(folder / "damaged"):
        found.wrong(place, "was damaged and set aside; nothing needs it any more")
    for place in _entries(folder / "parts"):
        _leftover(found, place)
    for entry in _entries(folder / "runs"):
        try:
            kept = stored.mapping(entry) if entry.suffix == ".json" else {"folder": "", "key": entry.stem}
            if not isinstance(kept.get("folder"), str) or kept.get("key") != entry.stem:
                found.wrong(entry, "is not this request's: no run is found by it")
        except (OSError, ValueError) as error:
            found.wrong(entry, stored.why(error))


def _artefact(found: Verified, folder: Path) -> None:
    """Look at a stage's artefact, or a resumable state: its files must have the sums it was written with."""
    try:
        known = stored.mapping(folder / sums.NAME)
        changed = [name for name in STAGE if file_digest(folder / name) != known.get(name)]
        for name in changed:
            found.wrong(folder, f"{name} does not have the SHA-256 it was written with")
        key = folder.name if changed else stored.mapping(folder / "facts.json").get("key", folder.name)
        if key != folder.name:
            found.wrong(folder, f"it is the stage {key}, under another's name")
    except (OSError, ValueError) as error:
        found.wrong(folder, stored.why(error))


def _leftover(found: Verified, place: Path) -> None:
    """Note what is not whole, unless the process that writes it lives."""
    if leftovers.NAME.fullmatch(place.name) is None or leftovers.is_dead(place):
        found.wrong(place, "is not whole: the process that wrote it was killed; nothing needs it any more")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
