"""The choices of each group: ours, and those of other folders and of plugins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from unlearnbench.errors import UserError
from unlearnbench.request import plugins, scan
from unlearnbench.request.config import GROUPS, config_root, takes


def choices_of(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """Return the names of a group's choices, including those in other configuration folders."""
    return sorted({file.stem for file in files_of(group, folders)})


def files_of(group: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the YAML files of a group: ours, those in the folders, and those of plugins."""
    for root in (config_root(), *folders, *plugins.config_folders()):
        yield from sorted((root / group).glob("*.yaml"))


def is_group(key: str, folders: Sequence[Path]) -> bool:
    """Return whether a key is a group (ours, a folder's or a plugin's) rather than a setting."""
    return key in GROUPS or any((folder / key).is_dir() for folder in (*folders, *plugins.config_folders()))


def having(key: str, folders: Sequence[Path]) -> list[str]:
    """Return the choices, as GROUP=CHOICE, whose class has this key."""
    group, *path = key.split(".")
    found = []
    for file in files_of(group, folders) if path else ():
        try:
            values = OmegaConf.to_container(scan.load(file), resolve=False)
        except UserError:
            continue  # a faulty file, but the user did not choose it
        if takes(values, path):
            found.append(f"{group}={file.stem}")
    return found
