"""Methods and other settings from Python values, checked as those of a command line are."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from unlearnbench.errors import UserError
from unlearnbench.machine.precision import Choice
from unlearnbench.problem import Method
from unlearnbench.ranges import MOST, Seed
from unlearnbench.request.config import build, typed
from unlearnbench.training.recipe import Recipe

Settings = TypeVar("Settings")
WORDS = {"image": "images", "text": "text"}
TUNING = {"image": "image", "text": "language"}
RECIPES = {"image": "standard", "text": "language"}


@dataclass(frozen=True, kw_only=True)
class Values:
    """The plain arguments of `unlearn` and `evaluate`, with their ranges."""

    precision: Choice
    deterministic: bool
    too_long: Literal["cut", "refuse"]
    context: Annotated[int, Field(ge=16, le=2**20)] | None
    generate: Annotated[int, Field(ge=0, le=MOST)]
    seed: Seed


def check_values(**given: object) -> None:
    """Raise UserError for a plain argument of another type or out of range."""
    typed(Values, _changed({}, given), "")


@contextmanager
def python_words() -> Iterator[None]:
    """Call settings in messages of the block what they are called in Python: method.epochs is epochs."""
    try:
        yield
    except UserError as error:
        said = re.sub(r"(?<![\w.])(?:dataset|method|model)\.(?=[a-z_]+[.=:])", "", str(error))
        raise UserError(re.sub(r"(?<![\w.])train\.(?=[a-z_]+[.=:])", "recipe.", said)) from error


def method_of(method: str | Method, kind: str, tuning: str | None, changes: Mapping[str, object]) -> Method:
    """Return a method by its name with some settings changed, or the given one; raise UserError for mistakes.

    A name has the command's defaults for this kind of data; `tuning` chooses others (configs/tuning).
    """
    if isinstance(method, str):
        values = _composed("method", method, tuning or TUNING[kind])
        found: Method = build(_changed(values, changes), "method")
        name = method
    elif changes:
        given = ", ".join(changes)
        raise UserError(f"{given}: a method object has its own settings.\nTry: dataclasses.replace(method, ...)")
    else:
        found, name = method, type(method).__name__
    if kind not in found.kinds:
        needed = " or ".join(WORDS[one] for one in sorted(found.kinds))
        raise UserError(f"method={name} needs {needed}; the data are {WORDS[kind]}.\nTry: unlearnbench list methods")
    return found


def recipe_of(recipe: Recipe | Mapping[str, object] | None, kind: str) -> Recipe:
    """Return a recipe of training: the given one, or the command's default for this kind, with settings changed."""
    if isinstance(recipe, Recipe):
        return recipe
    values = _composed("train", RECIPES[kind], TUNING[kind])
    found: Recipe = build(_changed(values, recipe or {}), "train")
    return found


def settings_of(kind: type[Settings], given: Settings | Mapping[str, object], where: str) -> Settings:
    """Return a dataclass of settings as it is, or built from a mapping; raise UserError for mistakes."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: expected {kind.__name__} or a dict, got {type(given).__name__}.")
    found: Settings = typed(kind, _changed({}, given), where)
    return found


def _composed(group: str, choice: str, tuning: str) -> dict[str, Any]:
    """Return the values of a group's choice as the command composes them."""
    from unlearnbench.request.compose import compose

    values = compose([f"{group}={choice}", f"tuning={tuning}"]).request.config[group]
    if not isinstance(values, dict):
        raise UserError(f"{group}={choice} has no settings.\nTry: a name from `unlearnbench list`")
    return values


def _changed(values: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    """Return settings with changes; a mapping changes the settings inside."""
    found = dict(values)
    for name, value in changes.items():
        before = found.get(name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found[name] = dataclasses.asdict(value)
        elif isinstance(value, Mapping):
            found[name] = _changed(before if isinstance(before, Mapping) else {}, value)
        else:
            found[name] = value.item() if hasattr(value, "item") else value
    return found
