"""The stage cache: computed once, published atomically, checked when read, never trusted when damaged."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from unlearnbench.files import disk, leftovers, locks, stored
from unlearnbench.files.durable import write_durably
from unlearnbench.graph.keys import digest, file_digest
from unlearnbench.machine.devices import on_cuda

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("unlearnbench")


@dataclass(frozen=True, eq=False)
class Artefact:
    """A stage's result: named tensors, and facts about them that JSON can hold."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Stage:
    """A finished stage: its name, key and artefact; `reused` says that it was read, not computed."""

    name: str
    key: str
    artefact: Artefact
    reused: bool

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the computation, whenever it was, in all processes that had a part in it."""
        return float(self.artefact.facts["seconds"])


class Cache:
    """A folder of finished stages, one folder a key. Locks only save duplicate work.

    `device` is the one that stages compute on: their peak memory is asked of it.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self.device = folder, device

    def stage(self, name: str, parts: tuple[object, ...], compute: Callable[[str], Artefact]) -> Stage:
        """Return the stage's artefact, computing and publishing it where it is not there yet.

        `parts` decide the result: configuration, source digests, parents' keys. `compute` is given the key.
        An exception of `compute` is not cached.
        """
        key = digest(name.split("_")[0], *parts)
        known = self._read(key)
        if known is None:
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            with locks.locked(self.folder / "locks" / f"{key}.lock"):
                known = self._read(key)
                if known is None:
                    return Stage(name, key, self._compute(name, key, compute), reused=False)
        log.debug("%s: reused %s", name, key[:8])
        return Stage(name, key, known, reused=True)

    def unfinished(self, key: str) -> Path:
        """Return the folder where a stage may keep a resumable state until it is published."""
        return self.folder / "unfinished" / key

    def _compute(self, name: str, key: str, compute: Callable[[str], Artefact]) -> Artefact:
        _warm_up()
        reset_peak(self.device)
        started = time.perf_counter()
        computed = compute(key)
        seconds = time.perf_counter() - started + computed.facts.get("earlier_seconds", 0.0)
        peak = max(peak_mib(self.device), computed.facts.get("earlier_peak_mib", 0.0))
        facts = {"seconds": seconds, "peak_mib": peak, "stage": name, **computed.facts, "key": key}
        artefact = Artefact(computed.tensors, facts)
        self._publish(key, artefact)
        shutil.rmtree(self.unfinished(key), ignore_errors=True)
        return artefact

    def _publish(self, key: str, artefact: Artefact) -> None:
        final = self.folder / "stages" / key
        with leftovers.part(self.folder / "parts") as part:
            write_artefact(part, artefact)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.rename(final)
            except OSError:
                if not final.exists():
                    raise  # else somebody else published the same stage first

    def _read(self, key: str) -> Artefact | None:
        folder = self.folder / "stages" / key
        if not folder.exists():
            return None
        try:
            found = read_artefact(folder)
            if found.facts.get("key", key) != key:
                raise ValueError(f"it is the stage {found.facts['key']}")
            return found
        except (OSError, ValueError, KeyError, TypeError) as error:
            if disk.why(error, self.folder):
                raise  # it may not be read: that is no damage
            aside = self.folder / "damaged" / f"{key}-{uuid4().hex[:8]}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.rename(aside)
            except FileNotFoundError:  # somebody else set it aside
                return None
            os.utime(aside)  # it is kept for a week from now
            log.warning("cache: %s is damaged (%s); set aside as %s and computed again", key[:8], error, aside)
            return None


def write_artefact(folder: Path, artefact: Artefact) -> None:
    """Write an artefact durably into a new folder: tensors.safetensors, facts.json, sums.json."""
    from safetensors.torch import save

    folder.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in artefact.tensors.items()}
    write_durably(folder / "tensors.safetensors", save(tensors))
    write_durably(folder / "facts.json", json.dumps(dict(artefact.facts), indent=1).encode())
    sums = {name: file_digest(folder / name) for name in ("tensors.safetensors", "facts.json")}
    write_durably(folder / "sums.json", json.dumps(sums).encode())


def read_artefact(folder: Path) -> Artefact:
    """Read an artefact; raise an OSError, ValueError, KeyError or TypeError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    sums = stored.mapping(folder / "sums.json")
    for name in ("tensors.safetensors", "facts.json"):
        if file_digest(folder / name) != sums[name]:
            raise ValueError(f"{name} does not have the SHA-256 it was written with")
    facts = stored.mapping(folder / "facts.json")
    try:
        return Artefact(load_file(folder / "tensors.safetensors"), facts)
    except SafetensorError as error:
        raise ValueError(f"tensors.safetensors cannot be read: {error}") from error


def _warm_up() -> None:
    """Import what torch imports at a first optimiser step, so that no stage's seconds hold it."""
    importlib.import_module("torch._dynamo")


def reset_peak(device: str) -> None:
    """Start a new measurement of a device's peak memory (Linux and CUDA; elsewhere the process's peak counts)."""
    import torch

    if on_cuda(device):
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        log.debug("peak memory is that of the whole process here")


def peak_mib(device: str) -> float:
    """Return the peak memory in MiB since `reset_peak`: of the GPU where it is one, else of the process."""
    import resource

    import torch

    if on_cuda(device):
        return float(torch.cuda.max_memory_allocated(device) / 2**20)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
