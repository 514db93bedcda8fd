"""Every number of a run is a pure function of stored scores; a metric declares how to read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Literal

from unlearnbench.errors import UserError
from unlearnbench.evidence import Evidence

EVERYWHERE = ("retain", "forget", "test", "test_retain", "test_forget")
COMPARED = ("forget", "retain", "test_forget")
UNBOUNDED = float("inf")
MODULES = ("classification", "divergence", "membership", "composite", "answers", "bias", "tofu")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A named number about one model and split, and how to read it.

    `ideal` is the value of a perfect result; None where the retrained model's value is the target.
    `relative` metrics compare with the references themselves: a reference against itself scores `ideal`. `needs` names
    what the scores must have beside logits: a metric stands only where they do.
    """

    name: str
    compute: Callable[[Evidence, str], float | None]
    splits: tuple[str, ...]
    unit: str
    low: float
    high: float
    ideal: float | None
    relative: bool
    needs: tuple[str, ...]
    source: str

    @property
    def about(self) -> str:
        """The first line of the computing function's docstring."""
        return (self.compute.__doc__ or "").strip().splitlines()[0]


def metric(
    name: str,
    *,
    splits: tuple[str, ...],
    unit: Literal["rate", "nats", "bits", "distance", "score"],
    low: float,
    high: float,
    ideal: float | None = None,
    relative: bool = False,
    needs: tuple[str, ...] = (),
    source: str,
) -> Callable[[Callable[[Evidence, str], float | None]], Metric]:
    """Turn `function(evidence, split) -> float` into a Metric; the literals here are what `list metrics` prints.

    The function may return None where the split has no row that it speaks of: then the metric does not stand there.
    """

    def declare(compute: Callable[[Evidence, str], float | None]) -> Metric:
        return Metric(
            name=name,
            compute=compute,
            splits=splits,
            unit=unit,
            low=low,
            high=high,
            ideal=ideal,
            relative=relative,
            needs=needs,
            source=source,
        )

    return declare


def catalogue(extra: Iterable[ModuleType] = ()) -> tuple[Metric, ...]:
    """Return every metric of this package and of the `extra` modules (plugins), in definition order.

    A module's metrics are those it defines; what it merely imports does not count again.

    Raises UserError where two metrics have one name.
    """
    found: dict[str, Metric] = {}
    for module in (*(import_module(f"{__name__}.{name}") for name in MODULES), *extra):
        for value in vars(module).values():
            if not isinstance(value, Metric) or value.compute.__module__ != module.__name__:
                continue
            first = found.setdefault(value.name, value)
            if first is not value:
                raise UserError(
                    f"{module.__name__} declares the metric '{value.name}', which {first.compute.__module__} declares"
                    f" already. Give it another name in its @metric(...) line."
                )
    return tuple(found.values())
