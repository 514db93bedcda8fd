"""What is written under a temporary name gets its own in one rename, so that nobody sees half of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from unlearnbench.files import leftovers


def once(part: Path, final: Path) -> None:
    """Give a finished folder its name; where another process was first, its folder stays: the two are the same."""
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.rename(final)
    except OSError:
        if not final.exists():
            raise


def instead(part: Path, final: Path) -> None:
    """Give a finished file or folder its name; what has that name makes way."""
    if not part.is_dir():
        part.replace(final)
        return
    while True:
        with leftovers.part(final.parent) as old:
            with suppress(FileNotFoundError):
                final.rename(old)
            try:
                part.rename(final)
            except OSError:
                if not final.exists():
                    raise
                continue  # somebody else published here in between
        return
