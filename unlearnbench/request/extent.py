"""Limit what a command asks for: count words, jobs and references before expanding them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.request.scan import DEPTH, NUMBER
from unlearnbench.request.words import PLACES, is_function

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

LENGTH = 4000
"""The most characters in an override."""
ALL = 8000
"""The most characters in all overrides: Hydra parses about two thousand per second of a list."""
JOBS = 100_000
"""The most jobs in a sweep."""
CHAIN = 20
"""The longest chain of references."""
CHARACTERS = 2**20
"""The most characters and values in a configuration once all references are resolved."""

Place = tuple[str, ...]

_REFERENCE = re.compile(r"\$\{([^${}]*)\}")


def refuse_words(overrides: Sequence[str]) -> None:
    """Raise UserError for overrides that are too long, too nested, or have huge numbers."""
    if sum(map(len, overrides)) > ALL:
        raise UserError(
            f"the overrides have {sum(map(len, overrides)):,} characters; at most {ALL:,} are read.\n"
            "Try: --config-dir FOLDER with the settings in a preset"
        )
    for word in overrides:
        key, _, value = word.partition("=")
        shown = f"{word[:60]} ..." if len(word) > 60 else word
        if len(word) > LENGTH:
            raise UserError(f"{shown} has {len(word):,} characters; at most {LENGTH:,} are read.\nTry: a shorter value")
        if "\0" in word:
            raise UserError(f"{shown!r} contains a character that is not text.\nTry: without it")
        if key.lstrip("+~") in PLACES and not is_function(value):
            continue  # its value is taken literally
        if _depth(word) > DEPTH:
            raise UserError(f"{shown} nests brackets more than {DEPTH} deep.\nTry: fewer levels")
        if any(NUMBER.fullmatch(piece) for piece in re.split(r"[\s,=()\[\]{}]", value)):
            raise UserError(f"{shown}: numbers of more than 100 characters are refused.\nTry: a smaller one")


def _depth(word: str) -> int:
    """Return how deeply brackets are nested, including those in quotes."""
    deepest = depth = 0
    for letter in word:
        depth += letter in "[({"
        depth -= letter in "])}"
        deepest = max(deepest, depth)
    return deepest


def refuse_jobs(swept: Sequence[Override], values: Callable[[Override], list[str]]) -> None:
    """Raise UserError if a sweep has too many jobs or none.

    Ranges are counted without being expanded.
    """
    counts = {item.key_or_group: _count(item, values) for item in swept}
    jobs = math.prod(counts.values())
    if not jobs:
        none = next(key for key, count in counts.items() if not count)
        raise UserError(f"{none} has no values, so the sweep has no jobs.\nTry: range(START,STOP) with START < STOP")
    if jobs > JOBS:
        shown = " x ".join(f"{count:,} of {key}" for key, count in counts.items())
        raise UserError(f"this sweep has {jobs:,} jobs ({shown}); at most {JOBS:,} are allowed.\nTry: fewer values")


def _count(item: Override, values: Callable[[Override], list[str]]) -> int:
    from hydra.core.override_parser.types import RangeSweep

    value = item.value()
    if not isinstance(value, RangeSweep):
        return len(values(item))
    start, stop, step = float(value.start or 0), float(value.stop or 0), float(value.step)
    if not step or not math.isfinite(start + stop + step):
        raise UserError(f"{item.input_line}: this range never ends.\nTry: range(START,STOP) with a step other than 0")
    return max(math.ceil(min((stop - start) / step, 1e18)), 0)


def references(node: Any) -> frozenset[str]:
    """Return the keys, dotted, that values of a configuration refer to, nothing resolved yet."""
    if isinstance(node, (dict, list)):
        return frozenset().union(*(references(child) for _, child in _children(node)))
    names = _REFERENCE.findall(node) if isinstance(node, str) else ()
    return frozenset(".".join(part for part in re.split(r"[.\[\]]+", name) if part) for name in names)


def refuse_growth(tree: Any) -> None:
    """Raise UserError if values of an unresolved configuration refer in a circle or grow too large."""
    _Growth(tree).weigh(tree, (), ())


@dataclass
class _Growth:
    """The resolved size and longest chain of references of each value, by place."""

    tree: dict[str, Any]
    known: dict[Place, tuple[int, int]] = field(default_factory=dict)

    def weigh(self, node: Any, place: Place, behind: tuple[Place, ...]) -> tuple[int, int]:
        """Return a node's size in values and characters, and its longest chain; `behind` led to this node."""
        if place in self.known:
            return self.known[place]
        if isinstance(node, (dict, list)):
            parts = [self.weigh(child, (*place, name), behind) for name, child in _children(node)]
            total, links = 1 + sum(part[0] for part in parts), max((part[1] for part in parts), default=0)
        else:
            targets = self._targets(node) if isinstance(node, str) and "${" in node else ()
            parts = [self._follow(target, place, behind) for target in targets]
            total = 1 + len(str(node)) + sum(part[0] for part in parts)
            links = max((part[1] + 1 for part in parts), default=0)
        if total > CHARACTERS:
            raise UserError(
                f"{'.'.join(place) or 'the configuration'} grows to more than {CHARACTERS:,} characters: its values "
                "repeat each other.\nTry: the values themselves"
            )
        if links > CHAIN:
            raise _too_long(place)
        self.known[place] = total, links
        return total, links

    def _follow(self, target: Place, place: Place, behind: tuple[Place, ...]) -> tuple[int, int]:
        chain = (*behind, place)
        if any(target == one[: len(target)] for one in chain):
            raise UserError(f"{'.'.join(place)} refers to itself through {'.'.join(target)}.\nTry: the value itself")
        if len(chain) > CHAIN:
            raise _too_long(chain[0])
        return self.weigh(self._at(target), target, chain)

    def _targets(self, text: str) -> Iterator[Place]:
        """Yield the places that a text refers to; `refusals` only allows keys from the root."""
        for name in _REFERENCE.findall(text):
            target = tuple(part for part in re.split(r"[.\[\]]+", name) if part)
            if self._at(target) is not None:
                yield target

    def _at(self, place: Place) -> Any:
        node: Any = self.tree
        for part in place:
            if isinstance(node, list):
                node = node[int(part)] if part.isdecimal() and int(part) < len(node) else None
            else:
                node = node.get(part) if isinstance(node, dict) else None
        return node


def _too_long(place: Place) -> UserError:
    return UserError(f"{'.'.join(place)} follows more than {CHAIN} references.\nTry: the value itself")


def _children(node: dict[Any, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    return ((str(name), child) for name, child in pairs)
