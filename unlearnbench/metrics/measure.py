"""Turn the scores of the three roles into rows: values, gaps to the retrained models, and the noise floor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean

import numpy as np

from unlearnbench.evidence import BySplit, Evidence
from unlearnbench.metrics import Metric


@dataclass(frozen=True)
class Row:
    """One number: a role's value of a metric on a split."""

    role: str
    split: str
    metric: str
    value: float


def measure(
    original: BySplit,
    retrained: tuple[BySplit, ...],
    unlearned: BySplit,
    incompetent: tuple[BySplit, ...],
    whole_class: bool,
    seed: int,
    metrics: tuple[Metric, ...],
) -> list[Row]:
    """Compute every metric for every role and split, with gap_ rows (unlearned) and floor_ rows (retrained).

    Retrained's value is the mean over the references; a relative metric has none, since a reference scores the
    ideal against itself. gap_ is unlearned minus retrained (relative: minus the ideal). floor_, from two
    references on, is the mean |difference| of two (relative: the mean |value - ideal| of one against another).
    A metric stands on those of its splits that have examples. Rows go by role, metric, split.

    Raises ValueError where scores are not numbers (a model that diverged) or a metric's value is not finite.
    """
    original, unlearned = usable("original", original), usable("unlearned", unlearned)
    retrained = tuple(usable("retrained", scores) for scores in retrained)
    incompetent = tuple(usable("incompetent", scores, ("forget",)) for scores in incompetent)
    for reference in retrained:
        assert all(np.array_equal(reference[name].index, rows.index) for name, rows in unlearned.items()), "other rows"

    rows: dict[str, list[Row]] = {"original": [], "retrained": [], "unlearned": []}
    for metric, split in _standing(metrics, unlearned, bool(retrained)):
        first = metric.compute(Evidence(unlearned, original, retrained, incompetent, whole_class, seed), split)
        if first is None:
            continue
        mine = _finite(metric, split, first)

        def value(subject: BySplit, references: tuple[BySplit, ...], metric: Metric = metric, at: str = split) -> float:
            evidence = Evidence(subject, original, references, incompetent, whole_class, seed)
            return _finite(metric, at, metric.compute(evidence, at))

        def add(role: str, name: str, number: float, at: str = split) -> None:
            rows[role].append(Row(role, at, name, number))

        add("original", metric.name, value(original, retrained))
        add("unlearned", metric.name, mine)
        if not retrained:
            continue
        target, apart = _target(metric, retrained, value)
        if not metric.relative:
            add("retrained", metric.name, target)
        add("unlearned", f"gap_{metric.name}", mine - target)
        if apart:
            add("retrained", f"floor_{metric.name}", fmean(apart))
    return [row for role in rows.values() for row in role]


def _target(
    metric: Metric, retrained: tuple[BySplit, ...], value: Callable[[BySplit, tuple[BySplit, ...]], float]
) -> tuple[float, list[float]]:
    """Return what the unlearned model is compared with, and how far two references are apart, for each two."""
    if metric.relative:
        ideal = _ideal(metric)
        return ideal, [abs(value(one, (other,)) - ideal) for one, other in permutations(retrained, 2)]
    values = [value(reference, retrained) for reference in retrained]
    return fmean(values), [abs(one - other) for one, other in combinations(values, 2)]


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


def _standing(metrics: Iterable[Metric], scores: BySplit, compared: bool) -> Iterator[tuple[Metric, str]]:
    for metric in metrics:
        if compared or not metric.relative:
            splits = [split for split in metric.splits if split in scores]
            yield from ((metric, split) for split in splits if set(metric.needs) <= scores[split].extras.keys())


def _finite(metric: Metric, split: str, number: float | None) -> float:
    if number is None or not math.isfinite(number):
        raise ValueError(f"metric {metric.name} is {number} on {split}; a metric must be a finite number")
    return float(number)


def _ideal(metric: Metric) -> float:
    if metric.ideal is None:
        raise ValueError(f"metric {metric.name} is relative, and must declare its ideal value")
    return metric.ideal
