"""What a stage leaves: facts that JSON can hold, and named tensors, which are read when somebody asks for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unlearnbench.files import stored
from unlearnbench.files.digests import Stamp, file_digest, stamp_of
from unlearnbench.files.durable import write_durably

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, FACTS, SUMS = "tensors.safetensors", "facts.json", "sums.json"


class Damaged(Exception):
    """A file of an artefact is not what was written: `folder` holds it, the message says what is wrong."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(why)
        self.folder = folder


class Artefact(Protocol):
    """Facts, and tensors on demand."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What JSON can hold."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors by name, on the CPU; read at each call of a stored artefact, so keep what you need."""


@dataclass(frozen=True, eq=False)
class Computed:
    """An artefact in memory."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Stored:
    """An artefact on disk. Its facts are read and checked; its tensors are when they are asked for."""

    folder: Path
    facts: Mapping[str, Any]
    sums: Mapping[str, Any]

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Read the tensors; raise Damaged where they are not the ones that were written."""
        return self.starting("")

    def starting(self, start: str) -> dict[str, Tensor]:
        """Read the tensors whose names begin with `start`, and no others; raise Damaged as `tensors` does.

        The SHA-256 is of the whole file, which a process reads once for it, and again where its stamp has changed.
        """
        from safetensors import SafetensorError, safe_open

        path = self.folder / TENSORS
        try:
            if _digest_of(path, stamp_of(path)) != self.sums[TENSORS]:
                raise Damaged(self.folder, f"{TENSORS} does not have the SHA-256 it was written with")
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys() if name.startswith(start)}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, KeyError) as error:
            raise Damaged(self.folder, f"{TENSORS} cannot be read: {error}") from error


@lru_cache(maxsize=4096)
def _digest_of(path: Path, stamp: Stamp) -> str:
    """Return the SHA-256 of a file that had a stamp, remembered in this process: several models share a file."""
    return file_digest(path)


def write_artefact(folder: Path, artefact: Artefact) -> None:
    """Write an artefact durably into a new folder: tensors.safetensors, facts.json, sums.json."""
    from safetensors.torch import save

    folder.mkdir(parents=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in artefact.tensors.items()}
    write_durably(folder / TENSORS, save(tensors))
    write_durably(folder / FACTS, json.dumps(dict(artefact.facts), indent=1).encode())
    sums = {name: file_digest(folder / name) for name in (TENSORS, FACTS)}
    write_durably(folder / SUMS, json.dumps(sums).encode())


def read_artefact(folder: Path) -> Stored:
    """Read an artefact's facts; raise an OSError, ValueError, KeyError or TypeError where it is damaged."""
    sums = stored.mapping(folder / SUMS)
    if file_digest(folder / FACTS) != sums[FACTS]:
        raise ValueError(f"{FACTS} does not have the SHA-256 it was written with")
    if not (folder / TENSORS).is_file():
        raise ValueError(f"{TENSORS} is missing")
    return Stored(folder, stored.mapping(folder / FACTS), sums)
