"""The jobs of a sweep: which combinations of values its words ask for, each composed."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.request import extent
from unlearnbench.request.choices import choices_of, is_group
from unlearnbench.request.compose import Composed, Request, by_groups, compose, refuse_names_of
from unlearnbench.request.explain import explain
from unlearnbench.request.words import literal

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


@dataclass(frozen=True)
class Swept:
    """The words of a sweep as Hydra reads them: one value each, or several."""

    items: tuple[Override, ...]
    folders: tuple[Path, ...]

    def first(self) -> list[str]:
        """Return the words of the first job."""
        return next(self.words())

    def words(self) -> Iterator[list[str]]:
        """Yield the words of each job, in the order of Hydra's own sweeper: the last word varies fastest."""
        columns = [
            values_of(item, self.folders) if item.is_sweep_override() else [item.input_line or ""]
            for item in self.items
        ]
        yield from map(list, itertools.product(*columns))

    def plain(self) -> list[str]:
        """Return the keys with several values that are settings, and no groups."""
        return [
            item.key_or_group
            for item in self.items
            if item.is_sweep_override() and not is_group(item.key_or_group, self.folders)
        ]


def swept(overrides: Sequence[str], parameters: Sequence[str], folders: Sequence[Path] = ()) -> Swept:
    """Parse the words of a sweep. One of them replaces the parameter (of a preset) of its name.

    Raises UserError for a word that does not parse, and for more jobs than anyone waits for.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    extent.refuse_words([*parameters, *overrides])
    try:
        parsed = OverridesParser.create().parse_overrides([*parameters, *literal(overrides)])
    except (HydraException, RecursionError) as error:
        raise UserError(explain(error, overrides, folders, lambda: by_groups(overrides, folders))) from error
    last = tuple({item.get_key_element(): item for item in parsed}.values())
    extent.refuse_jobs([item for item in last if item.is_sweep_override()], lambda item: values_of(item, folders))
    return Swept(last, tuple(folders))


def composed(sweep: Swept, only: Collection[int] | None = None) -> Iterator[tuple[int, Composed]]:
    """Compose each job, or those of the numbers in `only`; yield it with its number.

    Each combination of group choices is composed once by Hydra; values are then put into it. A value that others refer
    to, or that is more than a number or a word, is composed by Hydra each time.
    """
    bases: dict[tuple[str, ...], Composed] = {}
    plain, jobs = set(sweep.plain()), sum(1 for _ in sweep.words())
    for number, words in enumerate(sweep.words()):
        if only is not None and number not in only:
            continue
        values = {word.partition("=")[0]: word for word in words if word.partition("=")[0] in plain}
        key = tuple(word for word in words if word.partition("=")[0] not in plain)
        base = bases.get(key)
        if base is None:
            base = bases[key] = compose(words, sweep.folders)
            yield number, _in_sweep(base, base.request.config, words, jobs)
            continue
        found = _with_values(base, values)
        if found is None:
            one = compose(words, sweep.folders)
            yield number, _in_sweep(one, one.request.config, words, jobs)
        else:
            yield number, _in_sweep(base, found, words, jobs)


def _in_sweep(base: Composed, config: dict[str, Any], words: Sequence[str], jobs: int) -> Composed:
    request = Request(config, base.request.choices, tuple(words), sweep_jobs=jobs)
    refuse_names_of(request)
    return replace(base, request=request)


def _with_values(base: Composed, words: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the base's configuration with these values; None where only Hydra can tell what it comes to."""
    config: dict[str, Any] = dict(base.request.config)
    for key, word in words.items():
        path, value = key.split("."), _simple(word)
        if value is None or any(one == key or one.startswith(f"{key}.") for one in base.references):
            return None
        node = config
        for part in path[:-1]:
            if not isinstance(node.get(part), dict):
                return None
            node[part] = copy.copy(node[part])
            node = node[part]
        if path[-1] not in node or isinstance(node[path[-1]], (dict, list)):
            return None
        node[path[-1]] = value
    return config


@cache
def _simple(word: str) -> bool | int | float | str | None:
    """Return the value of an override where it is a number, a truth or a plain word, else None."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString

    value = OverridesParser.create().parse_override(word).value()
    if isinstance(value, QuotedString):
        value = value.text
    if isinstance(value, str) and "${" in value:
        return None
    return value if isinstance(value, (bool, int, float, str)) else None


def values_of(item: Override, folders: Sequence[Path]) -> list[str]:
    """Return a swept override's values as overrides; raise UserError for an interval, which has no list of values."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    key, value = item.get_key_element(), item.value()
    if isinstance(value, IntervalSweep):
        low, high = float(value.start or 0), float(value.end or 0)
        middle = math.sqrt(low * high) if low > 0 and high > 0 else (low + high) / 2
        raise UserError(
            f"{item.input_line}: a sweep tries every value, and an interval has no list of them.\n"
            f"Try: -m {key}={low:g},{middle:.3g},{high:g}"
        )
    if isinstance(value, Glob):
        found = value.filter(choices_of(item.key_or_group, folders))
        if not found:
            raise UserError(f"{item.input_line} does not match any choice.\nTry: `unlearnbench list`")
        return [f"{key}={name}" for name in found]
    return [f"{key}={text}" for text in item.sweep_string_iterator()]
