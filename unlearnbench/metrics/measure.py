"""Turn the scores of the three roles into rows: values, gaps to the retrained models, the noise floor, and places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean
from typing import NamedTuple

import numpy as np

from unlearnbench.evidence import BySplit, Evidence
from unlearnbench.metrics import Metric, numbers
from unlearnbench.metrics.equivalence import REFERENCES, among, farthest

Values = dict[tuple[str, str], float]
"""One model's numbers by metric and split."""


Once = Callable[[str, Callable[[], Values]], Values]
"""Returns a model's numbers by its name: computed, or as they were computed before."""


@dataclass(frozen=True)
class Row:
    """One number: a role's value of a metric on a split."""

    role: str
    split: str
    metric: str
    value: float


class Column(NamedTuple):
    """A column of a leaderboard: a metric on a split."""

    metric: str
    split: str


def measure(
    original: BySplit,
    retrained: tuple[BySplit, ...],
    unlearned: BySplit,
    incompetent: tuple[BySplit, ...],
    whole_class: bool,
    seed: int,
    metrics: tuple[Metric, ...],
    once: Once = lambda name, compute: compute(),
    needed: tuple[str, ...] = ("retain", "forget", "test"),
) -> list[Row]:
    """Compute every metric for every role and split, with gap_ rows (unlearned) and floor_ rows (retrained).

    Retrained's value is the mean over the references. A relative metric has none there, since a reference against
    itself has the ideal value. gap_ is unlearned minus retrained (relative: minus the ideal). floor_ needs two
    references: it is the mean |difference| of two (relative: the mean |value - ideal| of one against another).
    p_ (unlearned) needs 19: the exact p that the unlearned model is one of the retrained ones, by its place among them
    (relative: by its mean |value - ideal| against the others). In [1 / (K + 1), 1]; .05 or less shows a difference.
    A metric is computed on those of its splits that have examples. Rows go by role, metric, split.

    The jobs of a sweep share the original and the retrained models: `once` is given the name of each model but the
    unlearned one, and what computes its numbers, and may return what it returned before.

    Raises ValueError where a split is missing that is `needed`, scores are not numbers (a model that diverged), or a
    metric's value is not finite.
    """
    original, unlearned = usable("original", original, needed), usable("unlearned", unlearned, needed)
    retrained = tuple(usable("retrained", scores, needed) for scores in retrained)
    incompetent = tuple(usable("incompetent", scores, ("forget",)) for scores in incompetent)
    for reference in retrained:
        assert all(np.array_equal(reference[name].index, rows.index) for name, rows in unlearned.items()), "other rows"

    def values(subject: BySplit, references: tuple[BySplit, ...], chosen: Iterable[Metric]) -> Values:
        return _values(Evidence(subject, original, references, incompetent, whole_class, seed), tuple(chosen))

    absolute = [metric for metric in metrics if not metric.relative]
    relative = [metric for metric in metrics if metric.relative]
    possible = metrics if retrained else absolute
    before = once("original", lambda: values(original, retrained, possible))
    after = values(unlearned, retrained, possible)
    targets = [
        once(f"retrained_{k}", lambda one=one: values(one, retrained, absolute))  # type: ignore[misc]
        for k, one in enumerate(retrained)
    ]
    pairs = [values(one, (other,), relative) for one, other in permutations(retrained, 2)]
    back = [values(one, (unlearned,), relative) for one in retrained] if len(retrained) >= REFERENCES else []

    rows: list[Row] = []
    for metric in possible:
        for split in metric.splits:
            place = (metric.name, split)
            if place not in after:
                continue
            rows.append(Row("original", split, metric.name, _at(before, place)))
            rows.append(Row("unlearned", split, metric.name, after[place]))
            if retrained:
                found = [_at(one, place) for one in (pairs if metric.relative else targets)]
                others = [_at(one, place) for one in back] if metric.relative else []
                rows += _compared(metric, split, after[place], found, others, len(retrained) >= REFERENCES)
    roles = ("original", "retrained", "unlearned")
    return sorted(rows, key=lambda row: roles.index(row.role))


def _compared(
    metric: Metric, split: str, unlearned: float, found: list[float], back: list[float], placed: bool
) -> Iterator[Row]:
    """Yield a metric's rows about the references: their value, the gap to it, the noise floor, and the p if `placed`.

    `found` and `back` are those of `_place`.
    """
    target, apart = _target(metric, found)
    if not metric.relative:
        yield Row("retrained", split, metric.name, target)
    yield Row("unlearned", split, f"gap_{metric.name}", unlearned - target)
    if apart:
        yield Row("retrained", split, f"floor_{metric.name}", fmean(apart))
    if placed:
        yield Row("unlearned", split, f"p_{metric.name}", _place(metric, unlearned, found, back))


def _values(evidence: Evidence, metrics: tuple[Metric, ...]) -> Values:
    """Compute a model's numbers on every split that has what they need; raise ValueError where one is not finite."""
    found: Values = {}
    for split, scores in evidence.subject.items():
        chosen = [metric for metric in metrics if split in metric.splits and set(metric.needs) <= scores.known]
        for name, value in numbers(chosen, evidence, split).items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name} is {value} on {split}; a metric must be a finite number")
            found[name, split] = float(value)
    return found


def _at(values: Values, place: tuple[str, str]) -> float:
    if place not in values:
        raise ValueError(f"metric {place[0]} has a value on {place[1]} for the unlearned model, but not for another")
    return values[place]


def _target(metric: Metric, values: list[float]) -> tuple[float, list[float]]:
    """Return what the unlearned model is compared with, and how far two references are apart, for each two.

    `values` are the references' own, or, of a relative metric, those of one reference against another.
    """
    if not metric.relative:
        return fmean(values), [abs(one - other) for one, other in combinations(values, 2)]
    if metric.ideal is None:
        raise ValueError(f"metric {metric.name} is relative, and must declare its ideal value")
    ideal = metric.ideal
    return ideal, [abs(value - ideal) for value in values]


def _place(metric: Metric, unlearned: float, found: list[float], back: list[float]) -> float:
    """Return the p of the unlearned model's place among the references.

    `found` are the references' own values, or, of a relative metric, those of each against each other one in the order
    of `permutations`; `back` are those of each reference against the unlearned model.
    """
    if not metric.relative:
        return among(unlearned, found)
    ideal, others = metric.ideal or 0.0, len(back) - 1
    away = [abs(value - ideal) for value in found]
    means = [fmean([*away[k * others : (k + 1) * others], abs(value - ideal)]) for k, value in enumerate(back)]
    return farthest(abs(unlearned - ideal), means)


def usable(role: str, scores: BySplit, needed: tuple[str, ...] = ("retain", "forget", "test")) -> BySplit:
    """Return the splits that have examples; raise ValueError where one is missing or its scores are not numbers."""
    present = {name: rows for name, rows in scores.items() if len(rows)}
    if missing := [name for name in needed if name not in present]:
        raise ValueError(
            f"the {role} model has no scores on {', '.join(missing)}; the metrics need {', '.join(needed)}"
        )
    for name, rows in present.items():
        if not np.isfinite(rows.logits.max(axis=1)).all():
            raise ValueError(f"the {role} model's scores on {name} are not numbers: it diverged")
    return present
