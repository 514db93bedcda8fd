"""The folder of finished stages: published in one rename, checked when read, never trusted when damaged."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from uuid import uuid4

from unlearnbench.files import disk, leftovers, publish
from unlearnbench.graph.artefact import Artefact, Damaged, Stored, read_artefact, write_artefact

log = logging.getLogger("unlearnbench")


class Cache:
    """A folder of finished stages, one folder a key. Processes and machines may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> Stored | None:
        """Return a finished stage's artefact, its facts read and checked; None where it is not there, or damaged."""
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
            self.set_aside(Damaged(folder, str(error)))
            return None

    def has(self, key: str) -> bool:
        """Return whether a stage seems to be finished: its folder is there, unread."""
        return (self.folder / "stages" / key).exists()

    def set_aside(self, damage: Damaged) -> None:
        """Move a damaged stage out of the way, so that it is computed again; it is kept for a week."""
        key = damage.folder.name
        aside = self.folder / "damaged" / f"{key}-{uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        try:
            damage.folder.rename(aside)
        except FileNotFoundError:  # another process has set it aside
            return
        os.utime(aside)
        log.warning("cache: %s is damaged (%s); set aside as %s and computed again", key[:8], damage, aside)

    def publish(self, key: str, artefact: Artefact) -> Stored:
        """Write a stage's artefact; where another process has published the same stage, that one is used."""
        final = self.folder / "stages" / key
        with leftovers.part(self.folder / "parts") as part:
            write_artefact(part, artefact)
            publish.once(part, final)
        shutil.rmtree(self.unfinished(key), ignore_errors=True)
        return read_artefact(final)

    def unfinished(self, key: str) -> Path:
        """Return the folder where a stage may keep a state to resume from until it is published."""
        return self.folder / "unfinished" / key
