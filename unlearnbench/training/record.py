"""What a stage leaves beside its weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearnbench.machine.cost import Spent


@dataclass
class Record:
    """What a stage leaves beside its weights: one row of `curve` for each epoch, and how many examples it looked at.

    `tables` are for methods that have more to say: rows of facts by the table's name, which result.json shows.
    One with a column `chosen` is drawn as well (plots/run.py).
    `validation_seconds` went into scoring the validation examples, `earlier` into the processes before an interruption,
    `preparation_seconds` into what a method has to do before anybody asks it to forget.
    """

    curve: list[dict[str, float]] = field(default_factory=list)
    tables: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    examples: int = 0
    validation_seconds: float = 0.0
    preparation_seconds: float = 0.0
    earlier: Spent = field(default_factory=Spent)
