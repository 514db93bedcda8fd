"""runner=inline: this process does everything, one stage after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Inline:
    """Compute in this process."""
