"""Turn YAML and the command line into typed objects.

A configuration file is data and never runs code.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from unlearnbench.errors import UserError, nearest
from unlearnbench.request.plugins import load, trusted

GROUPS = ("model", "dataset", "forget", "method", "train", "tuning", "eval", "runner", "track", "experiment", "scale")
RUNNERS = ("inline", "local", "slurm")
INTERFACES: dict[str, set[str]] = {
    "model": {"kinds", "build", "parts"},
    "dataset": {"info", "check", "load"},
    "forget": {"label", "split"},
    "method": {"kinds", "__call__"},
    "train": {"Recipe"},
    "eval": {"headline", "stages", "measure"},
    "runner": {"away", "alone", "do"},
    "track": {"check", "send"},
}
"""The attributes of a configuration in each group (contracts.py, runners/runner.py); for `train`, its class."""
MODULES = {
    "model": ("unlearnbench.models.",),
    "dataset": ("unlearnbench.data.",),
    "forget": ("unlearnbench.forget.", "unlearnbench.selection."),
    "method": ("unlearnbench.methods.",),
    "train": ("unlearnbench.training.recipe",),
    "eval": ("unlearnbench.evaluations.",),
    "runner": tuple(f"unlearnbench.runners.{name}" for name in RUNNERS),
    "track": ("unlearnbench.track.",),
}
"""The modules with our own classes; a name that ends with a dot is a package."""

_built: dict[tuple[Any, str, str], Any] = {}

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


@cache
def config_root() -> Path:
    """Return the folder of our configuration: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    inside = here / "configs"
    return inside if inside.is_dir() else here.parent / "configs"


def build(values: Mapping[str, Any], where: str, group: str | None = None) -> Any:
    """Build the object that a group's YAML describes.

    `_target_` names its class, whose fields are typed. `group` defaults to `where`. Raises UserError, with a remedy,
    for a class that does not belong to the group, an unknown key (suggesting the nearest), a missing key, a wrong type
    or a value out of range.
    """
    kind = build_class(values.get("_target_"), where, (group or where,))
    return typed(kind, {key: value for key, value in values.items() if key != "_target_"}, where)


def build_class(target: object, where: str, groups: Iterable[str] = tuple(INTERFACES)) -> Any:
    """Return the class that a `_target_` names.

    Raises UserError if it is missing or not of one of these groups.
    """
    if not isinstance(target, str) or not _DOTTED.fullmatch(target):
        raise UserError(
            f"{where} has no valid _target_, the name of its class.\nTry: {where}=NAME, from `unlearnbench list`"
        )
    module, _, name = target.rpartition(".")
    ours = module.partition(".")[0] == "unlearnbench"
    if not trusted(module) or (ours and not any(_is_place(module, group) for group in groups)):
        raise UserError(
            f"{where}._target_={target} is refused: a configuration may only name {where or 'configuration'} classes "
            f"of unlearnbench and of plugins you trust.\nTry: --plugin FILE.py for your own class"
        )
    try:
        kind = getattr(importlib.import_module(module) if ours else load(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{where}._target_={target} cannot be found: {error}") from error
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind) or (ours and kind.__module__ != module):
        raise UserError(f"{where}._target_={target} is not a configuration: expected a dataclass")
    if not any(INTERFACES[group] <= _offers(kind) for group in groups):
        needs = " or ".join(", ".join(sorted(INTERFACES[group])) for group in groups)
        raise UserError(
            f"{where}._target_={target} is not a configuration of {where}: expected {needs}{_choices(groups)}"
        )
    return kind


def _choices(groups: Iterable[str]) -> str:
    """Return what to try in place of a class that is not of these groups."""
    names = [f"{group}=NAME" for group in groups]
    return f"\nTry: {names[0]}, from `unlearnbench list`" if len(names) == 1 else ""


def _is_place(module: str, group: str) -> bool:
    """Return whether one of our modules may hold a group's classes."""
    return any(module == place or (place[-1] == "." and module.startswith(place)) for place in MODULES[group])


@cache
def _offers(kind: type) -> set[str]:
    """Return the names of a class's attributes, and of its base classes in training.recipe."""
    return {
        *dir(kind),
        *(base.__qualname__ for base in kind.__mro__ if base.__module__ == "unlearnbench.training.recipe"),
    }


def takes(values: Any, path: Sequence[str]) -> bool:
    """Return whether a group's class has a field at this path, even if its YAML omits it."""
    try:
        kind = build_class(values.get("_target_") if isinstance(values, Mapping) else None, "")
    except UserError:
        return False
    for part in path[:-1]:
        kind = _dataclass_in(_hints(kind).get(part)) if hasattr(kind, "__dataclass_fields__") else None
    return dataclasses.is_dataclass(kind) and path[-1] in {field.name for field in dataclasses.fields(kind)}


def typed(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    """Build a dataclass from values; raise UserError for wrong types or values out of range.

    Equal values give the same object: a sweep asks for the same parts over and over.
    """
    known = (kind, where, json.dumps(dict(values), default=str))
    if known not in _built:
        _check_keys(kind, values, where)
        _built[known] = _validated(*known)
    return _built[known]


def _validated(kind: Any, where: str, text: str) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError("\n".join(_explain(problem, where) for problem in _merged(error.errors())[:5])) from error


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _check_keys(kind: Any, values: Mapping[str, Any], where: str) -> None:
    """Raise UserError for an unknown or missing key, here or in a nested dataclass."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    for key, value in values.items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            hint = nearest(str(key), fields)
            raise UserError(f"{prefix}{key}: unknown setting of {where or 'a run'}.{hint}\nThe settings are: {known}")
        nested = _dataclass_in(_hints(kind)[key])
        if nested is not None:
            for place, entry in _mappings(value, f"{prefix}{key}"):
                _check_keys(nested, entry, place)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            word = f"{name}: VALUE in that entry" if "[" in where else f"+{prefix}{name}=VALUE"
            raise UserError(f"{prefix}{name} is missing.\nTry: {word}")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _mappings(value: Any, where: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the value, or the entries of a list, with their places, if they are mappings."""
    places = [(f"{where}[{number}]", entry) for number, entry in enumerate(value)] if isinstance(value, list) else []
    return [(place, entry) for place, entry in places or [(where, value)] if isinstance(entry, Mapping)]


def _dataclass_in(hint: Any) -> Any:
    candidates = [hint, *get_args(hint)]
    return next((kind for kind in candidates if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None)


def _merged(problems: Sequence[Any]) -> list[dict[str, Any]]:
    """Merge pydantic's findings on each value; it reports one for every type that it tried."""
    by_place: dict[tuple[Any, ...], dict[str, Any]] = {}
    for problem in problems:
        place = tuple(part for part in problem["loc"] if isinstance(part, int) or _is_key(part))
        allowed = str(problem.get("ctx", {}).get("expected", ""))
        if place in by_place:
            by_place[place]["msg"] += " or " + _expected(problem)
            by_place[place]["allowed"] += f",{allowed}"
        else:
            by_place[place] = {**problem, "msg": _expected(problem), "allowed": allowed}
    return list(by_place.values())


def _expected(problem: Any) -> str:
    """Return what value was expected, in our own words."""
    expected: str = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    ours = {
        "a valid array": "a list, such as [A,B]",
        "an object": "settings by name",
        "a valid boolean": "true or false",
    }
    return ours.get(expected, expected)


def _is_key(part: Any) -> bool:
    """Return whether a part of pydantic's location is a key rather than a type it tried."""
    return isinstance(part, str) and part.isidentifier() and part not in ("bool", "int", "str", "float")


def _explain(problem: Any, where: str) -> str:
    """Turn one of pydantic's findings into a line with the key, the value and what was expected."""
    path = [where] if where else []
    for part in problem["loc"]:
        if isinstance(part, int):
            path[-1] += f"[{part}]"
        elif _is_key(part):
            path.append(part)
    value, expected = problem["input"], problem["msg"]
    if problem["type"] == "value_error":
        return f"{'.'.join(path)}: {expected}"
    known = [word.strip(" '") for word in problem["allowed"].replace(" or ", ",").split(",")]
    hint = nearest(value, known) if isinstance(value, str) and any(known) else ""
    key = ".".join(path)
    several = _as_sweep(key, value) if not re.search(r"list|tuple", expected) else _as_list(key, value)
    return f"{'.'.join(path)}={json.dumps(value)}: expected {expected}.{hint}{several}"


def _as_list(path: str, value: object) -> str:
    """Return what to type where one value was meant for a key that takes several; "" if it is not so."""
    single = isinstance(value, (int, str)) and not isinstance(value, bool)
    return f"\nTry: '{path}=[{value}]'" if single and str(value) and "'" not in str(value) else ""


def _as_sweep(path: str, value: object) -> str:
    """Return what to type where several values were meant for a key that takes one; "" if it is not so."""
    values: list[object] = []
    ends = re.fullmatch(r"(\d{1,9}):(\d{1,9})", value) if isinstance(value, str) else None
    dashed = re.fullmatch(r"(\d{1,9})-(\d{1,9})", value) if isinstance(value, str) else None
    if dashed and 0 < int(dashed[2]) - int(dashed[1]) <= 10:
        values = list(range(int(dashed[1]), int(dashed[2]) + 1))
    if ends and int(ends[1]) < int(ends[2]):
        if int(ends[2]) - int(ends[1]) > 10:
            return f"\nTry: -m '{path}=range({ends[1]},{ends[2]})' for a sweep"
        values = list(range(int(ends[1]), int(ends[2])))
    if isinstance(value, list) and len(value) > 1 and all(isinstance(one, (int, float, str)) for one in value):
        values = value
    return f"\nTry: -m {path}={','.join(map(str, values))} for a sweep" if values else ""
