"""A stored configuration as the words that compose it again: those it was made from, and what has changed since.

Whoever wrote the run folder did not type on this machine. So its words may do what a configuration file may, and no
more: where a run writes, who does its jobs and where its numbers are sent is said on the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError
from unlearnbench.request.compose import Request, compose
from unlearnbench.request.config import GROUPS
from unlearnbench.request.jobs import swept
from unlearnbench.request.refusals import CACHE, NAME, ROOT, refuse_cache
from unlearnbench.request.words import PLACES, text

NOT_OF_A_RUN = (ROOT, "hydra", "runner", "track")
"""Keys that say where a run writes, who does it and where it is sent."""
NOT_KEPT = (*NOT_OF_A_RUN, "reported")
"""What is composed as it is today, whatever it was then."""
NO_CHANGE = (*NOT_OF_A_RUN, *PLACES, "save_model", "plots", "threads", "device")
"""Keys that leave a run what it is: where things are, and what computes it."""
_CHOICE = re.compile(r"# ([a-z]+)=(\S+)")


def words_of(
    config: Mapping[str, Any],
    chosen: Mapping[str, str],
    overrides: Sequence[str],
    further: Sequence[str],
    folders: Sequence[Path],
) -> tuple[list[str], list[str]]:
    """Return the words that compose a stored configuration with `further` words, and those that keep old defaults.

    `config` are its values, `chosen` its choices and `overrides` the words that it was made from. Defaults that have
    changed since are kept as they were, but for what a further word replaces.
    """
    own = [word for word in overrides if _is_of_a_run(word)]
    base = compose(own, folders).request
    other = [f"{group}={name}" for group, name in chosen.items() if base.name(group) != name]
    if other:
        own += other
        base = compose(own, folders).request
    refuse_cache(base.config.get("dataset"))
    replaced = [key_of(word) for word in further]
    own = [word for word in own if not _is_replaced(key_of(word), replaced)]
    kept = [(key, word) for key, word in _changed(config, base.config) if not _is_replaced(key.lstrip("+"), replaced)]
    if kept:
        now = compose(swept([*own, *further], (), folders).first(), folders).request
        kept = [(key, word) for key, word in kept if _is_same_choice(key, base, now)]
    pins = [word for _, word in kept]
    return [*own, *pins, *further], pins


def choices_in(header: str) -> dict[str, str]:
    """Return the choices that the first lines of a config.yaml name, by group."""
    found = (_CHOICE.fullmatch(line) for line in header.splitlines()[: 2 * len(GROUPS)])
    pairs = {one[1]: one[2] for one in found if one is not None}
    return {
        group: name
        for group, name in pairs.items()
        if group in GROUPS and group not in NOT_OF_A_RUN and NAME.fullmatch(name)
    }


def key_of(word: str) -> str:
    """Return the key of an override, without its + or ~."""
    return word.lstrip("+~").partition("=")[0]


def changes(words: Sequence[str]) -> bool:
    """Return whether any of these words makes another run of a stored one."""
    return any(key_of(word) not in NO_CHANGE and _section(key_of(word)) not in NO_CHANGE for word in words)


def _section(key: str) -> str:
    return re.split(r"[.@\[/]", key)[0]


def _is_of_a_run(word: str) -> bool:
    return _section(key_of(word)) not in NOT_OF_A_RUN and key_of(word) != CACHE


def _is_replaced(key: str, by: Sequence[str]) -> bool:
    """Return whether one of the keys in `by` is this one, or a section or group that it is in."""
    return any(key == one or key.startswith(f"{one}.") or (one in GROUPS and _section(key) == one) for one in by if one)


def _is_same_choice(key: str, then: Request, now: Request) -> bool:
    group = _section(key.lstrip("+"))
    return group not in GROUPS or then.choices.get(group) == now.choices.get(group)


def _changed(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the word of each stored value that would be another one now; classes are today's."""
    here = dict(_leaves(now, ""))
    for path, value in _leaves(stored, ""):
        if _section(path) in NOT_KEPT or path.endswith("_target_") or (path in here and here[path] == value):
            continue
        key = path if path in here else f"+{path}"
        yield key, f"{key}={_typed(path, value)}"


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by their dotted paths; a list is a value."""
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, node


def _typed(path: str, value: Any) -> str:
    """Return a value in the grammar of overrides; raise UserError for one that it has no form for."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        if "${" in value:
            raise UserError(f"{path}={value!a} is refused: a stored configuration has values, and no references.")
        return text(value)
    if isinstance(value, list):
        return f"[{','.join(_typed(path, one) for one in value)}]"
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and key.isidentifier() for key in value):
            raise UserError(f"{path} has a name that is not a word, and cannot be composed again.")
        return "{" + ",".join(f"{key}:{_typed(path, one)}" for key, one in value.items()) + "}"
    return repr(value)
