"""The families of a report's methods, read from the source of those that are here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from unlearnbench.request.catalogue import entries

if TYPE_CHECKING:
    import pandas


def families(table: pandas.DataFrame) -> Mapping[str, str]:
    """Return the family of each variant in a table of runs; a method that is not here, such as a plugin's, has none."""
    known = _known()
    found = {}
    for variant, method in table[["variant", "method"]].itertuples(index=False):
        name = str(method)
        if family := known.get(name) or known.get(name.removesuffix("_paper")):
            found[str(variant)] = family
    return found


@cache
def _known() -> dict[str, str]:
    return {entry.name: entry.family for entry in entries("methods")}
