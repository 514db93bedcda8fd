"""Slips of typing: words that neither a flag's parser nor Hydra can explain, and what was probably meant."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from unlearnbench.errors import UserError, nearest
from unlearnbench.request.choices import choices_of
from unlearnbench.request.config import GROUPS, config_root

ABOUT = {"method": "of the method", "train": "of the original's training"}
"""What a group's settings are about, where two groups have one of the same name."""
OTHER = {"learning_rate": "lr", "batchsize": "batch_size", "batch": "batch_size", "num_epochs": "epochs"}
"""Names that other programs have for a setting."""
MOST = 4
"""The most places to suggest for a key."""


def refuse_blanks(words: Sequence[str]) -> None:
    """Raise UserError for a word that begins with a blank, which Hydra cannot read."""
    for word in words:
        if word[:1].isspace():
            raise UserError(f"{word!r} begins with a blank.\nTry: {shlex.quote(word.strip())}")


def unknown_flag(flag: str, words: Sequence[str], flags: Sequence[str], command: str) -> str:
    """Explain a flag that does not exist: a key, which takes no dashes, or the nearest flag."""
    name, mark, value = flag.lstrip("-").partition("=")
    key = name.replace("-", "_")
    if key.partition(".")[0] in _keys():
        following = [*words[words.index(flag) + 1 :], "VALUE"][0] if flag in words else "VALUE"
        taken = value if mark else "VALUE" if following.startswith("-") or "=" in following else following
        return f"{flag} is not a flag: settings are typed without dashes.\nTry: {shlex.quote(f'{key}={taken}')}"
    return f"unknown flag {flag}.{nearest(flag, flags)}\nTry: {command} --help"


def without_equals(word: str, words: Sequence[str], folders: Sequence[Path]) -> str:
    """Explain a word that is not KEY=VALUE: a value after a blank, or a choice without its group."""
    at = words.index(word) if word in words else 0
    before, after = words[at - 1] if at else "", [*words[at + 1 :], ""][0]
    if before.endswith("="):
        return f"{before} {word}: there is a blank after the =.\nTry: {before}{word}"
    if after.startswith("="):
        value = after[1:] or [*words[at + 2 :], "VALUE"][0]
        return f"{word} {after}: there are blanks around the =.\nTry: {shlex.quote(f'{word}={value}')}"
    key, mark, value = word.partition(":")
    if mark and key.partition(".")[0] in _keys():
        return f"{word} is not KEY=VALUE.\nTry: {key}={value}"
    groups = {choice: group for group in reversed(GROUPS) for choice in choices_of(group, folders)}
    match = re.search(r"'(.+)'", nearest(word, groups))
    meant = f"{groups[match[1]]}={match[1]}" if match else "KEY=VALUE, with a key from `unlearnbench run --help`"
    return f"{word} is not KEY=VALUE.\nTry: {meant}"


def elsewhere(path: str, value: str, config: Mapping[str, Any]) -> str:
    """Return what to type where a key belongs into another section or deeper into its own; "" if nowhere.

    `lr=0.1` belongs to method.optimizer and to train.optimizer, `train.lr=0.1` to train.optimizer.
    """
    section, _, last = path.rpartition(".")
    last = OTHER.get(last, last)
    path = f"{section}.{last}" if section else last
    found = [
        place
        for place in _places(config, "")
        if place.endswith(f".{path}")
        or (place.endswith(f".{last}") and place.startswith(f"{section}." * bool(section)))
    ]
    order = (*ABOUT, *GROUPS)
    first = {name: order.index(name) for name in reversed(order)}
    found.sort(key=lambda place: (first.get(place.partition(".")[0], len(order)), place.count(".")))
    several = len(found) > 1
    shown = [f"{place}={value}{_about(place) if several else ''}" for place in found[:MOST]]
    return ", or ".join(shown)


def _about(place: str) -> str:
    about = ABOUT.get(place.partition(".")[0])
    return f" ({about})" if about else ""


def _keys() -> set[str]:
    """Return the groups and the keys outside them."""
    ours = OmegaConf.load(config_root() / "run.yaml")
    return {*GROUPS, *(str(key) for key in ours if key not in ("defaults", "hydra"))}


def _places(node: Any, path: str) -> Iterator[str]:
    """Yield the dotted paths of all settings."""
    for key, value in node.items() if isinstance(node, Mapping) else ():
        place = f"{path}.{key}" if path else str(key)
        yield place
        yield from _places(value, place)
