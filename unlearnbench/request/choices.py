"""What there is to choose from in each group: ours, in further configuration folders, and in plugins' packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from unlearnbench.errors import UserError
from unlearnbench.request import plugins, scan
from unlearnbench.request.config import GROUPS, config_root, takes


def choices_of(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """Return the names of a group's choices, those of further configuration folders included."""
    return sorted({file.stem for file in files_of(group, folders)})


def files_of(group: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the YAML files of a group: ours, those of the folders, and those of plugins."""
    for root in (config_root(), *folders, *plugins.config_folders()):
        yield from sorted((root / group).glob("*.yaml"))


def is_group(key: str, folders: Sequence[Path]) -> bool:
    """Return whether a key is a group of ours, of a folder or of a plugin, and no setting."""
    return key in GROUPS or any((folder / key).is_dir() for folder in (*folders, *plugins.config_folders()))


def having(key: str, folders: Sequence[Path]) -> list[str]:
    """Return the choices of a key's group, as GROUP=CHOICE, whose class has it."""
    group, *path = key.split(".")
    found = []
    for file in files_of(group, folders) if path else ():
        try:
            values = OmegaConf.to_container(scan.load(file), resolve=False)
        except UserError:
            continue  # a file that nobody chose, and which has a fault of its own
        if takes(values, path):
            found.append(f"{group}={file.stem}")
    return found
