"""Explain overrides that Hydra cannot compose, and what to type instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import nearest
from unlearnbench.request.choices import choices_of, having
from unlearnbench.request.config import GROUPS, takes
from unlearnbench.request.slips import elsewhere, without_equals
from unlearnbench.request.words import ONE, PLACES, literal, several, text, typed

if TYPE_CHECKING:
    from unlearnbench.request.compose import Request

MALFORMED = (ValueError, AssertionError, AttributeError, TypeError, LookupError, RecursionError)
"""What Hydra raises for an invalid file, such as one with a number as a group's name, or that names itself."""


def explain(
    error: Exception, overrides: Sequence[str], folders: Sequence[Path], by_groups: Callable[[], Request]
) -> str:
    """Turn Hydra's message into one that suggests the nearest choice or key.

    `by_groups` composes only the group choices, since the known keys depend on them.
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException

    lines = [*str(error).splitlines(), *str(error.__cause__ or "").splitlines(), type(error).__name__]
    message = next(line for line in lines if line)
    if message.startswith("Ambiguous value"):
        return next((_ambiguous(word) for word in overrides if f"'{literal([word])[0]}'" in message), message)
    if isinstance(error, MALFORMED):
        said = message if isinstance(error, ValueError) else f"a configuration file is malformed ({message})"
        return f"{said}.\nTry: GROUP=CHOICE, with a choice from `unlearnbench list`"
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override), message, overrides, folders)
    if isinstance(error, MissingConfigException):
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        known = choices_of(group, folders)
        if known:
            return f"{group}={choice}: unknown {group}.{nearest(choice, known)}\nThe choices are: {', '.join(known)}"
    override = re.match(r"Could not override '([^']+)'", message)
    if isinstance(error, ConfigCompositionException) and override:
        return _unknown(override[1], overrides, folders, by_groups()) or message
    return message


def _unreadable(override: str, message: str, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """Say why Hydra cannot read a word, and how to type it."""
    word = next((word for word in overrides if literal([word])[0] == override), override)
    if "=" not in word and not word.startswith("~"):
        return without_equals(word, overrides, folders)
    if re.search(r"\s[\w.@/+~]+=", word) and "mismatched input '='" in message:
        return f"{word!r} is one word, because of the quotes.\nTry: {word}"
    if several(word):
        return _ambiguous(word)
    return f"{word} cannot be read: {_cut(word) or message}\nTry: {_readable(word)}"


def _unknown(key: str, overrides: Sequence[str], folders: Sequence[Path], chosen: Request) -> str:
    """Say that a setting is unknown, and which one may be meant; "" to keep Hydra's message."""
    section, _, last = key.rpartition(".")
    value = next((word for word in overrides if word.startswith(f"{key}=")), "=VALUE").partition("=")[2]
    config = chosen.config
    known = _keys_of(section, config)
    if known and last in known:
        return ""
    if known and section and takes(config[section.partition(".")[0]], key.split(".")[1:]):
        return f"{key} is a setting that this YAML does not list.\nTry: ++{key}=VALUE"
    if known and section == "margin":
        units = f"margin has {', '.join(known)}.{nearest(last, known)}"
        return f"{key}: {units}\nTry: +{key}={value} if {last} is a metric"
    if section in config and not known:
        return f"{key}: unknown setting; {section}={chosen.name(section)} has none."
    if not known and not section:
        return ""
    meant = elsewhere(key, value, config)
    if not known:
        hint = f"\nTry: {meant}" if meant else nearest(section, GROUPS)
        return f"{key}: unknown setting; there is no {section}.{hint}"
    if meant:
        return f"{key}: unknown setting.\nTry: {meant}"
    others = having(key, folders)
    groups = [] if section else GROUPS
    hint = f" These have it: {', '.join(others)}." if others else nearest(last, [*known, *groups])
    return f"{key}: unknown setting.{hint}\nThe settings are: {', '.join(known)}"


def _ambiguous(word: str) -> str:
    """Return what a value with commas can mean, and what to type for each meaning."""
    key, _, value = word.partition("=")
    name = key.lstrip("+")
    ways = [f"{typed(key, value)} if the comma is part of the text"]
    ways += ["-m for a sweep over these values"] if name not in ONE else []
    ways += [f"'{key}=[{value}]' for a list"] if name not in PLACES else []
    return f"{word}: a comma separates several values.\nTry: {', or '.join(ways)}"


def _cut(word: str) -> str:
    """Return why a value has an opening bracket alone; "" where it has both."""
    _, _, value = word.partition("=")
    opened = value[:1] in ("[", "{") and value[-1:] not in ("]", "}")
    return f"{value[0]} is not closed in this word; outside quotes a blank begins the next" if opened else ""


def _readable(word: str) -> str:
    """Return how to type an override that Hydra cannot read, with each text in it quoted."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, value = word.partition("=")
    quoted = typed(key, value)
    if value.startswith("[") and value.endswith("]"):
        quoted = shlex.quote(f"{key}=[{','.join(text(item) for item in value[1:-1].split(','))}]")
    try:
        OverridesParser.create().parse_override(shlex.split(quoted)[0])
    except HydraException:
        return "KEY=VALUE, with a key from `unlearnbench run --help`"
    if value[:1] in ("[", "{") and value[-1:] not in ("]", "}"):
        return f"'{key}=[A,B]', quoted for the shell because of the brackets"
    return quoted


def _keys_of(section: str, config: dict[str, Any]) -> list[str]:
    """Return the keys in a section."""
    node: Any = config
    for part in section.split(".") if section else []:
        node = node.get(part) if isinstance(node, dict) else None
    return [str(key) for key in node if key != "_target_"] if isinstance(node, dict) else []
