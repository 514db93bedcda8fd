"""What all jobs of a sweep have in common is checked, and looked at, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Once:
    """Checks of files and models that hold for all jobs of a sweep: each is made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], tuple[Any, tuple[object, ...]]] = {}

    def __call__(self, do: Callable[..., T], *parts: object) -> T:
        """Return do(*parts), or what it returned before for these very objects, or for texts equal to them."""
        key = (do, *(part if isinstance(part, str) else id(part) for part in parts))
        if key not in self._made:
            self._made[key] = do(*parts), parts  # kept, so that no other object takes their place in memory
        found: T = self._made[key][0]
        return found
