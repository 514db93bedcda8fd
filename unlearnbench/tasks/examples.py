"""Choose rows whose answers are shown to people: whole pairs, over axes and templates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Index

Columns = Mapping[str, NDArray[np.generic]]


def examples(index: Index, unit: Index, columns: Columns, count: int) -> Index:
    """Return the places in `index` of at most `count` rows, sorted; whole units, and at least one.

    If rows have a template and an axis, the units alternate between those; otherwise they are evenly spaced.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for place, position in enumerate(index.tolist()):
        groups[int(unit[position])].append(place)
    members = list(groups.values())
    if {"template_id", "axis"} <= columns.keys():
        order = _in_turns([_labels(columns, int(index[places[0]])) for places in members], count)
    else:
        order = np.linspace(0, len(members) - 1, min(count, len(members))).round().astype(np.int64).tolist()
    chosen: list[int] = []
    for number in order:
        if not chosen or len(chosen) + len(members[number]) <= count:
            chosen += members[number]
    return np.array(sorted(chosen), dtype=np.int64)


def _labels(columns: Columns, row: int) -> tuple[Hashable, ...]:
    """Return what to alternate between: a row's template, axis and kind of template."""
    template = str(columns["template_id"][row])
    kind = template.partition("/")[0]
    return template, (columns["axis"][row], kind == "legitimate"), kind


def _in_turns(labels: Sequence[tuple[Hashable, ...]], count: int) -> list[int]:
    """Order up to `count` units, each time taking one whose template, axis and kind were chosen least.

    Among equals, alternate between the first and the last unit of a template: the last notes have a chart finding.
    """
    left, order = list(range(len(labels))), list[int]()
    seen: list[Counter[Hashable]] = [Counter() for _ in range(3)]
    while left and len(order) < count:

        def rank(number: int) -> tuple[int, ...]:
            turns = tuple(of[label] for of, label in zip(seen, labels[number], strict=True))
            return (*turns, -number if turns[0] % 2 else number)

        best = min(left, key=rank)
        left.remove(best)
        order.append(best)
        for of, label in zip(seen, labels[best], strict=True):
            of[label] += 1
    return order
