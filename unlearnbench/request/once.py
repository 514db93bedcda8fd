"""What all jobs of a sweep have in common is checked once."""

from __future__ import annotations

from collections.abc import Callable


class Once:
    """Checks of files and models that hold for all jobs of a sweep: each is made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], tuple[object, ...]] = {}

    def __call__(self, check: Callable[..., None], *parts: object) -> None:
        """Call check(*parts), unless it passed before for these very objects, or for texts equal to them."""
        key = (check, *(part if isinstance(part, str) else id(part) for part in parts))
        if key not in self._made:
            check(*parts)
            self._made[key] = parts  # kept, so that no other object takes their place in memory
