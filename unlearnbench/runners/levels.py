"""What a cluster is asked to run: levels of commands, one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Level:
    """Commands that may run at the same time, once all those of the level before have ended, well or not.

    `commands` are the arguments of each task. `gpus` is per task; `seconds` are estimates, one per command.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    gpus: int
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        assert _NAME.fullmatch(self.name), self.name
        assert len(self.seconds) == len(self.commands)

    def parts(self, largest: int) -> list[Level]:
        """Split the level into arrays of at most `largest` tasks."""
        starts = range(0, len(self.commands), largest)
        return [
            replace(self, commands=self.commands[at : at + largest], seconds=self.seconds[at : at + largest])
            for at in starts
        ]


def pairs(levels: Sequence[Level]) -> Iterator[tuple[Level | None, Level]]:
    """Return each level that has commands, and the one that it waits for; None for the first."""
    before: Level | None = None
    for level in levels:
        if level.commands:
            yield before, level
            before = level
