"""The trials of scripts/tune_methods.py: which values are tried for a method, and how the best ones are written."""

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FACTORS = (0.01, 1 / 30, 0.1, 1 / 3, 3.0, 10.0, 30.0, 100.0)
"""What a learning rate is multiplied by where a method has no space of its own."""
POINTS = 7
"""How many values are taken from a range."""
Values = Mapping[str, Any]


def trials_of(method: str, settings: Values, space: Values, count: int) -> list[dict[str, Any]]:
    """Return the values of each trial by field: first the defaults, then at most count - 1 combinations of the space.

    `settings` are the method's composed values. A space that has too few combinations is widened by the learning rate.
    """
    fields = {field: _listed(values) for field, values in space.items()}
    lr = at(settings, "optimizer.lr")
    few = math.prod(len(values) for values in fields.values()) < count
    if lr is not None and "optimizer.lr" not in fields and few:
        near = FACTORS if not fields else (0.1, 1 / 3, 1.0, 3.0, 10.0)
        fields["optimizer.lr"] = [_rounded(lr * factor) for factor in near]
    default = {field: at(settings, field) for field in fields}
    others = [dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())]
    others = [one for one in others if one != default] if fields else []
    if len(others) >= count:
        others = random.Random(method).sample(others, count - 1)
    return [default, *others[: count - 1]]


def changed(settings: Values, values: Values) -> dict[str, Any]:
    """Return a copy of a method's settings with these values, by dotted field."""
    found = {key: dict(value) if isinstance(value, Mapping) else value for key, value in settings.items()}
    for field, value in values.items():
        first, _, second = field.partition(".")
        if second:
            found[first][second] = value
        else:
            found[first] = value
    return found


def words_of(values: Values) -> str:
    """Return values as overrides of the command line."""
    return " ".join(f"method.{field}={_text(value)}" for field, value in values.items())


def values_of(words: Any) -> dict[str, Any]:
    """Return the values by field that `words_of` wrote."""
    pairs = [word.removeprefix("method.").split("=", 1) for word in words.split()] if isinstance(words, str) else []
    return {field: _number(yaml.safe_load(value)) for field, value in pairs}


def written(text: str, values: Values) -> str:
    """Return a YAML file with these values, by dotted field; its comments and other lines stay as they are."""
    for field, value in values.items():
        first, _, second = field.partition(".")
        if not second:
            text = _replaced(text, rf"^({re.escape(first)}:[ ]*)[^#\n]*?([ ]*(?:#.*)?)$", value, f"{first}: ")
            continue
        inside = re.search(rf"^{re.escape(first)}:[ ]*\{{(.*?)\}}", text, re.MULTILINE | re.DOTALL)
        if inside is None:
            text = f"{text.rstrip()}\n{first}: {{{second}: {_text(value)}}}\n".lstrip("\n")
            continue
        new, found = re.subn(rf"\b({re.escape(second)}:[ ]*)[^,}}\n]*", rf"\g<1>{_text(value)}", inside[1], count=1)
        new = new if found else f"{inside[1]}, {second}: {_text(value)}"
        text = text[: inside.start(1)] + new + text[inside.end(1) :]
    return text


def _replaced(text: str, pattern: str, value: Any, key: str) -> str:
    new, found = re.subn(pattern, rf"\g<1>{_text(value)}\g<2>", text, count=1, flags=re.MULTILINE)
    return new if found else f"{text.rstrip()}\n{key}{_text(value)}\n".lstrip("\n")


def space_of(file: Path, method: str, kind: str) -> dict[str, Any]:
    """Return a method's space for a kind of data: the file's entry for it, with what its `text` or `image` adds."""
    own = dict(_spaces(file).get(method) or {})
    by_kind = {one: own.pop(one, {}) for one in ("image", "text")}
    return {**own, **by_kind[kind]}


@cache
def _spaces(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text()) or {}


def _listed(values: Any) -> Sequence[Any]:
    """Return the values to try: a list as it is, of {from: A, to: B} some with even ratios."""
    if not isinstance(values, Mapping):
        return [_number(value) for value in values]
    low, high = math.log(_number(values["from"])), math.log(_number(values["to"]))
    return [_rounded(math.exp(low + (high - low) * step / (POINTS - 1))) for step in range(POINTS)]


def at(settings: Values, field: str) -> Any:
    """Return a method's value of a dotted field."""
    value: Any = settings
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _number(value: Any) -> Any:
    """Return 1e-4 as the number that it is meant as: YAML 1.1 reads it as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _rounded(value: float) -> float:
    """Round to two digits."""
    return float(f"{value:.1e}")


def _text(value: Any) -> str:
    """Return a value as it is typed in YAML: 1e-4 rather than 0.0001."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if not isinstance(value, float) or not 0 < abs(value) < 0.01:
        return str(value)
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    short = f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return short if float(short) == value else repr(value)
