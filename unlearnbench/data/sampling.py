"""Draw seeded subsets of a data set, balanced over labels or in whole groups."""

from __future__ import annotations

import numpy as np

from unlearnbench.contracts import Index
from unlearnbench.randomness import stage_seed


def balanced(labels: Index, count: int, seed: int, name: str) -> Index:
    """Draw `count` positions, as evenly over the labels as possible; sorted."""
    if count >= len(labels):
        return np.arange(len(labels))
    generator = np.random.default_rng(stage_seed(seed, name))
    order = generator.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    by_rank = order[np.argsort(rank[order], kind="stable")]
    return np.sort(by_rank[:count])


def units(index: Index, unit: Index, limit: int, *names: str | int) -> Index:
    """Draw at most `limit` of the positions, whole units (n,) at a time; sorted."""
    groups: dict[int, list[int]] = {}
    for position in index.tolist():
        groups.setdefault(int(unit[position]), []).append(position)
    order = np.random.default_rng(stage_seed(*names)).permutation(sorted(groups))
    drawn: list[int] = []
    for group in order.tolist():
        if len(drawn) + len(groups[group]) <= limit:
            drawn += groups[group]
    return np.array(sorted(drawn), dtype=np.int64)


def first_units(order: Index, unit: Index, count: int) -> Index:
    """Take whole units in the order of `order`, skipping those that would exceed `count` positions."""
    drawn: list[int] = []
    members: dict[int, list[int]] = {}
    for position in order.tolist():
        members.setdefault(int(unit[position]), []).append(position)
    for together in members.values():
        if len(drawn) + len(together) <= count:
            drawn += together
    return np.array(drawn, dtype=np.int64)
