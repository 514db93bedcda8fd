"""The runner that computes everything in this process, one stage after the other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Inline:
    """Settings of runner=inline: none."""
