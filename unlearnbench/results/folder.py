"""A run's folder: written under a temporary name, published in one rename."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from unlearnbench.files import leftovers
from unlearnbench.request.compose import Request
from unlearnbench.request.scan import text


def new_folder(outputs: Path) -> Path:
    """Make the temporary folder that a run writes into until it is published."""
    folder = leftovers.named(outputs / "runs")
    folder.mkdir(parents=True)
    return folder


def discard(part: Path) -> None:
    """Remove a temporary folder, and the folders above it that are left empty."""
    leftovers.remove(part)
    for folder in (part.parent, part.parent.parent):
        with suppress(OSError):  # not empty: others' runs are there
            folder.rmdir()


def read_config(folder: Path) -> dict[str, Any]:
    """Return a run's resolved configuration, which may be anybody's: plain values alone.

    Raises UserError where it is refused, or no YAML.
    """
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(OmegaConf.create(text(folder / "config.yaml")), resolve=False)
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def write_config(folder: Path, request: Request) -> None:
    """Write the resolved configuration as YAML."""
    from omegaconf import OmegaConf

    chosen = {group: name for group, name in request.choices.items() if name}
    header = "".join(f"# {group}={name}\n" for group, name in chosen.items())
    (folder / "config.yaml").write_text(header + OmegaConf.to_yaml(OmegaConf.create(request.config)))
