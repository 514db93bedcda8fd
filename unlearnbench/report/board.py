"""What a board holds: its lines, the tables below them, and what must be known to read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unlearnbench.plots.multiples import Curves
from unlearnbench.report.exposed import Exposed
from unlearnbench.report.headline import CHOICES, UNKNOWN, Headline
from unlearnbench.report.numbers import four
from unlearnbench.report.reported import Comparison, scale_note
from unlearnbench.report.verdicts import Verdicts
from unlearnbench.report.words import READING

SEEDS = (
    "±: half of the 95 % interval over seeds (Student t); a single seed has none. (from, to): the same interval, cut "
    "where the numbers end, such as a share at 0 and 1."
)


@dataclass(frozen=True)
class Cell:
    """A mean with its 95 % interval over seeds, and draws if there are several; NaN if unknown."""

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether the interval ends where the metric does, so that the mean is not in its middle."""
        return not math.isclose(self.high - self.mean, self.mean - self.low, abs_tol=1e-9)

    def __str__(self) -> str:
        return self.text(four)

    def text(self, number: Callable[[float], str]) -> str:
        """Return the mean and its interval, with numbers as `number` writes them."""
        if math.isnan(self.mean):
            return ""
        if math.isnan(self.low):
            return number(self.mean)
        if self.is_cut:
            return f"{number(self.mean)} ({number(self.low)}, {number(self.high)})"
        return f"{number(self.mean)} ± {number(self.high - self.mean)}"


@dataclass(frozen=True)
class Line:
    """One line of a board: a method, or the original or retrained model.

    `rates` are those that figures show, by split; `before` and `after` the cells beside the mean gap. Without a
    retrained model `seconds` take the place of gap and cost ratio. `counts` says how many seeds there are, and
    draws if several; `short` what the numbers say of a method in a few words.
    """

    name: str
    role: str
    rates: dict[str, Cell]
    before: tuple[Cell, ...] = ()
    gap: Cell = Cell()
    after: tuple[Cell, ...] = ()
    cost: Cell = Cell()
    compute: Cell = Cell()
    """The cost in CPU or GPU seconds, where it is known."""
    weights_changed: str = ""
    seeds: int = 0
    within_noise: bool = False
    seconds: str | None = None
    counts: str = ""
    short: str = ""

    def cells(self, number: Callable[[float], str] = four) -> tuple[str, ...]:
        """Return the line as text, one entry per column of the board's header, with numbers as `number` writes them."""
        before, after = ([cell.text(number) for cell in cells] for cells in (self.before, self.after))
        rest = (self.weights_changed, self.counts)
        if self.seconds is not None:
            return (self.name, *before, *after, self.seconds, *rest)
        gap = f"{self.gap.text(number)}{' *' if self.within_noise else ''}"
        return (self.name, *before, gap, *after, self.cost.text(number), *rest, self.short)


@dataclass(frozen=True)
class Added:
    """The headline of a further evaluation: a table of its columns, one line a method, and a note below it."""

    name: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Board:
    """The lines of one group: retrained, original, then methods nearest to retrained first; without any, by name.

    `headline` says what its columns are. `noise` is the difference in what it ranks by (accuracy) between two retrained
    models, averaged over retain, forget and test; NaN if there is only one. `premise` and `bias` are for text,
    `reported` has published numbers, `cost_note` is about cost ratios that are missing or not comparable, `base_note`
    about weights that may have seen the forget rows, and `checkpoint` about what a user's own original has seen.
    `rows` says how many each split has, and `remarks` are what a reader must know before the numbers. `verdicts` say
    which methods are equivalent to retrained, and `exposed` which forget rows they still give away. `words` say
    what the numbers show, in sentences.
    """

    title: str
    lines: tuple[Line, ...]
    across: tuple[dict[str, Any], ...] = field(default=(), kw_only=True)
    """The rows of across.csv: numbers over seeds."""
    place: tuple[str, ...] = field(default=(), kw_only=True)
    """Experiment, data set, forget set, model and setting of its runs."""
    families: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """The family of each method, by its name on the board."""
    curves: Curves | None = field(default=None, kw_only=True)
    """What was measured step by step."""
    paired: tuple[dict[str, Any], ...] = field(default=(), kw_only=True)
    """The rows of paired.csv: methods against the best one."""
    words: tuple[str, ...] = field(default=(), kw_only=True)
    noise: float
    floor: dict[tuple[str, str], float]
    premise: str = ""
    cost_note: str = ""
    base_note: str = ""
    bias: tuple[tuple[str, ...], ...] = ()
    added: tuple[Added, ...] = ()
    reported: tuple[Comparison, ...] = ()
    headline: Headline = CHOICES
    checkpoint: str = ""
    rows: str = ""
    remarks: tuple[str, ...] = ()
    verdicts: Verdicts | None = None
    exposed: tuple[Exposed, ...] = ()

    @property
    def without_rows(self) -> int:
        """How many methods' exposed rows are not shown."""
        return sum(line.role == "unlearned" for line in self.lines) - len(self.exposed)

    @property
    def scale_note(self) -> str:
        """A note if the published numbers are for a larger setting than the runs; else ""."""
        return scale_note(self.reported)


def noise_text(board: Board) -> str:
    """Return how far two retrained models are apart, or that this is unknown, or what else is."""
    if not board.headline.compared:
        return UNKNOWN
    if math.isnan(board.noise):
        return "Noise floor unknown: one retrained model. Try reference.count=2, or a sweep over seeds."
    return (
        f"Noise floor: two retrained models differ by {board.noise:.4f} in {board.headline.words} (mean over retain, "
        "forget, test). A * marks methods within it."
    )


def readings(groups: Sequence[Board]) -> list[str]:
    """Return what the columns of these boards mean, each explanation once."""
    found = dict.fromkeys(
        f"{board.headline.reading} {READING}" if board.headline.compared else board.headline.reading for board in groups
    )
    return list(found) or [CHOICES.reading]
