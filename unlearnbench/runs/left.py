"""How long what is missing should take: as long as like stages took that are in the cache."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any, Protocol

from unlearnbench.files import stored
from unlearnbench.graph.cache import Cache

SHARE = 20
"""The time between two looks at the cache, in times that a look takes: so they slow nothing down."""


class Planned(Protocol):
    """A stage, or the entry of one in a plan."""

    @property
    def key(self) -> str:
        """What it is known by."""

    @property
    def kind(self) -> str:
        """Its kind, such as train."""

    @property
    def like(self) -> str:
        """What stages that take about as long have in common."""


class Took:
    """The seconds of finished stages, by what they are like and by their kind."""

    def __init__(self) -> None:
        self._by: dict[tuple[str, str], list[float]] = {}

    def note(self, facts: Mapping[str, Any]) -> None:
        """Note a finished stage; raise KeyError, TypeError or ValueError where its facts do not say enough."""
        like, kind, seconds = str(facts["like"]), str(facts["kind"]), float(facts["seconds"])
        self._by.setdefault(("like", like), []).append(seconds)
        self._by.setdefault(("kind", kind), []).append(seconds)

    def like(self, like: str) -> float | None:
        """Return the median seconds of stages like this; None if there is none."""
        found = self._by.get(("like", like))
        return median(found) if found else None

    def about(self, stage: Planned) -> float | None:
        """Return the median seconds of like stages, or of all of the kind; None if there is none."""
        found = self._by.get(("like", stage.like)) or self._by.get(("kind", stage.kind))
        return median(found) if found else None


def took(cache: Cache) -> Took:
    """Return what the stages in a cache took."""
    found = Took()
    for name in _names(cache):
        _note(found, cache, name)
    return found


class Left:
    """The stages of a sweep that are missing, and how long they should take.

    Stages that any process finishes meanwhile are left out, and tell how long the others take.
    """

    def __init__(self, stages: Iterable[Planned], cache: Cache) -> None:
        there = set(_names(cache))
        self.cache, self.took = cache, took(cache)
        self.missing = {stage.key: stage for stage in stages if stage.key not in there}
        self._next = 0.0

    def seconds(self) -> float | None:
        """Return the seconds of computing that are left; None while nothing is known of a kind of stage."""
        began = time.monotonic()
        if began >= self._next:
            for name in self.missing.keys() & set(_names(self.cache)):
                del self.missing[name]
                _note(self.took, self.cache, name)
            ended = time.monotonic()
            self._next = ended + SHARE * (ended - began)
        known = [self.took.about(stage) for stage in self.missing.values()]
        return None if None in known else sum(one for one in known if one is not None)

    def drop(self, keys: Iterable[str]) -> None:
        """Leave out stages that nobody waits for any more; what those that are finished took is noted."""
        for key in keys:
            if self.missing.pop(key, None) is not None:
                _note(self.took, self.cache, key)


def told(seconds: float | None) -> str:
    """Return seconds in words, as ", about 5 min left"; "" if nobody knows, or nothing is left."""
    return f", about {in_words(seconds)} left" if seconds else ""


def in_words(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _names(cache: Cache) -> Iterator[str]:
    folder = cache.folder / "stages"
    yield from os.listdir(folder) if folder.is_dir() else ()


def _note(found: Took, cache: Cache, name: str) -> None:
    try:
        found.note(stored.mapping(cache.folder / "stages" / name / "facts.json"))
    except (OSError, ValueError, KeyError, TypeError):
        return  # a damaged stage is no example
