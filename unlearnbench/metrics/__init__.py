"""Every number of a run is a pure function of stored scores. A metric declares how to read its numbers.

    @metric("accuracy", splits=EVERYWHERE, unit="rate", low=0.0, high=1.0, source="scikit-learn, accuracy_score")
    def accuracy(evidence: Evidence, split: str) -> float: ...

    @metric(Number("first", "What it is"), Number("second", "What it is", ideal=0.5), splits=..., ...)
    def both(evidence: Evidence, split: str) -> dict[str, float]: ...

`unlearnbench list metrics` reads these lines without importing the module. Names, units, ideal values and sources must
therefore be literals there, or names that the module gives to literals and to tuples of Numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from types import ModuleType
from typing import Literal, TypeVar

from unlearnbench.errors import UserError
from unlearnbench.evidence import OPTIONS as OPTIONS
from unlearnbench.evidence import Evidence

EVERYWHERE = ("retain", "forget", "test", "test_retain", "test_forget")
COMPARED = ("forget", "retain", "test_forget")
UNBOUNDED = float("inf")
MODULES = (
    "classification", "divergence", "membership", "composite", "answers", "written", "bias", "benchmarks", "tofu",
    "utility", "tofu_parts", "muse", "rwku",
)  # fmt: skip
DECLARED = "metrics"
"""The attribute of a function that holds its Metrics."""

Unit = Literal["rate", "nats", "bits", "distance", "score"]
Found = float | Mapping[str, float] | None
"""What a metric function returns; None, or a number left out, where the split has no row that it is about."""
Function = TypeVar("Function", bound=Callable[[Evidence, str], Found])


@dataclass(frozen=True)
class Number:
    """One of several numbers that a metric function returns; what it leaves out is what the @metric line says."""

    name: str
    about: str
    _: KW_ONLY
    unit: Unit | None = None
    low: float | None = None
    high: float | None = None
    ideal: float | None = None
    needs: tuple[str, ...] | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A named number about one model and split, and how to read it.

    `ideal` is the value of a perfect result; None where that is the retrained model's value. A `relative` metric
    compares with the retrained models themselves: against itself, a retrained model has the ideal value. `needs` names
    what the scores must have beside logits (evidence.Scores.known): extras, or OPTIONS. `siblings` are all numbers that
    `function` returns.
    """

    name: str
    about: str
    function: Callable[[Evidence, str], Found]
    siblings: tuple[str, ...]
    splits: tuple[str, ...]
    unit: Unit
    low: float
    high: float
    ideal: float | None
    relative: bool
    needs: tuple[str, ...]
    source: str

    def compute(self, evidence: Evidence, split: str) -> float | None:
        """Return this number alone."""
        return self.pick(self.function(evidence, split))

    def pick(self, found: Found) -> float | None:
        """Return this number from what the function returned.

        Raises ValueError where that is not what the function's @metric line declares.
        """
        if found is None:
            return None
        if not isinstance(found, Mapping):
            found = {self.siblings[0]: found} if len(self.siblings) == 1 else {"": found}
        if unknown := found.keys() - set(self.siblings):
            raise ValueError(
                f"{self.function.__name__} returned {', '.join(sorted(unknown)) or 'one number'}, but its @metric line "
                f"declares {', '.join(self.siblings)}"
            )
        return found.get(self.name)


def metric(
    *numbers: str | Number,
    splits: tuple[str, ...],
    unit: Unit | None = None,
    low: float | None = None,
    high: float | None = None,
    ideal: float | None = None,
    relative: bool = False,
    needs: tuple[str, ...] = (),
    source: str | None = None,
) -> Callable[[Function], Function]:
    """Declare what `function(evidence, split)` returns: one number by its name, or several as Numbers.

    The function may return None, or leave a number out, where the split has no row that the number is about.

    Raises TypeError where a number has no unit, range or source.
    """

    def declare(function: Function) -> Function:
        first_line = (function.__doc__ or "").strip().partition("\n")[0]
        named = [Number(one, first_line) if isinstance(one, str) else one for one in numbers]
        declared = tuple(
            Metric(
                name=one.name,
                about=one.about,
                function=function,
                siblings=tuple(each.name for each in named),
                splits=splits,
                unit=_given(one.name, "unit", one.unit, unit),
                low=_given(one.name, "low", one.low, low),
                high=_given(one.name, "high", one.high, high),
                ideal=ideal if one.ideal is None else one.ideal,
                relative=relative,
                needs=needs if one.needs is None else one.needs,
                source=_given(one.name, "source", one.source, source),
            )
            for one in named
        )
        setattr(function, DECLARED, declared)
        return function

    return declare


Value = TypeVar("Value")


def _given(name: str, what: str, own: Value | None, shared: Value | None) -> Value:
    value = shared if own is None else own
    if value is None:
        raise TypeError(f"the metric '{name}' declares no {what}")
    return value


def declared(function: Callable[[Evidence, str], Found]) -> tuple[Metric, ...]:
    """Return the metrics that a function computes, in the order of its @metric line."""
    metrics: tuple[Metric, ...] = getattr(function, DECLARED)
    return metrics


def numbers(metrics: Iterable[Metric], evidence: Evidence, split: str) -> dict[str, float]:
    """Return the numbers of some metrics by name, without those that the split has no row for.

    A function is called once, however many of its numbers are asked for.
    """
    found: dict[Callable[[Evidence, str], Found], Found] = {}
    values = {}
    for one in metrics:
        if one.function not in found:
            found[one.function] = one.function(evidence, split)
        value = one.pick(found[one.function])
        if value is not None:
            values[one.name] = value
    return values


def catalogue(extra: Iterable[ModuleType] = ()) -> tuple[Metric, ...]:
    """Return every metric of this package and of the `extra` modules (plugins), in definition order.

    A function counts in the module that defines it, not in one that imports it.

    Raises UserError where two metrics have one name.
    """
    found: dict[str, Metric] = {}
    for module in (*(import_module(f"{__name__}.{name}") for name in MODULES), *extra):
        functions = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
        for one in (one for function in functions if hasattr(function, DECLARED) for one in declared(function)):
            first = found.setdefault(one.name, one)
            if first is not one:
                raise UserError(
                    f"{module.__name__} declares the metric '{one.name}', which {first.function.__module__} declares"
                    f" already.\nTry: another name in its @metric line"
                )
    return tuple(found.values())
