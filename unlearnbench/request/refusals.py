"""Refuse what a configuration may not contain: code, outside references, odd names.

There are two sources: files, which anyone may have written, and the command line, which the user typed. `loader` calls
this module at every step of a composition, before anything acts on the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from unlearnbench.errors import UserError, nearest

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
"""The valid names of choices; they become parts of file and folder names, and table cells."""
ROOT = "outputs"
CACHE = "dataset.cache"
TRACK = "track"
PLACES = ("hydra.sweep.dir", "hydra.sweep.subdir")
"""Settings for where Hydra writes; as with `outputs` and `dataset.cache`, only the command line may set them."""
SETTINGS = {"hydra": ("mode",)}
"""The settings under hydra. that anyone may set, besides sweeper.params."""
CHOICES = "Hydra's own groups cannot be chosen: our runners do the jobs.\nTry: runner=local, or runner=slurm"

_PLAIN = "a choice needs a plain name of up to 100 letters, digits, _ - + and ., starting with a letter, a digit or _."
_PARAMETERS = "hydra.sweeper.params"
_PARAMETER = re.compile(r"\+{0,2}([A-Za-z]\w*)(?:[./][A-Za-z0-9]\w*)*", re.ASCII)
_MAY = f"It may set hydra.mode and {_PARAMETERS}. What does the jobs is chosen by runner=inline, local or slurm."
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:/@+= %-]{0,199}")
_START = re.compile(r"(?<!\\)(?:\\\\)*\$\{")
_REFERENCE = re.compile(r"\$\{(?!hydra\b)[A-Za-z_]\w*(?:\.\w+|\[\w+\])*\}", re.ASCII)


def refuse_references(values: Any, path: str = "") -> None:
    """Raise UserError if a text refers to anything but another key of the configuration."""
    if isinstance(values, (dict, list)):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            refuse_references(value, f"{path}.{key}" if path else str(key))
    elif isinstance(values, str) and any(not _REFERENCE.match(values, at) for at in _references(values)):
        raise UserError(
            f"{path}={values} is refused: a configuration may only refer to its own keys, as in "
            "${train.epochs}.\nTry: the value itself"
        )


def _references(text: str) -> list[int]:
    """Return where OmegaConf sees a reference: at each ${ after an even number of backslashes."""
    return [found.end() - 2 for found in _START.finditer(text)]


def refuse_path(path: str) -> None:
    """Raise UserError if the name of a configuration file or its group is not plain."""
    group, _, choice = path.partition("/")
    if not all(NAME.fullmatch(part) for part in path.split("/")):
        raise UserError(f"{group}={choice!a} is refused: {_PLAIN}\nTry: `unlearnbench list`")


def refuse_names(names: Mapping[str, object]) -> None:
    """Raise UserError if a choice is set and not a plain name.

    Folders and results are named by it.
    """
    for group, name in names.items():
        if name and not (isinstance(name, str) and NAME.fullmatch(name)):
            raise UserError(f"{group}={name!a} is refused: {_PLAIN}\nTry: `unlearnbench list`")


def refuse_cache(dataset: object) -> None:
    """Raise UserError if files say where to keep decoded images, or hide it behind a reference."""
    found = dataset.get("cache") if isinstance(dataset, Mapping) else dataset
    if found is not None:
        key = CACHE if isinstance(dataset, Mapping) else "dataset"
        raise UserError(
            f"{key}: {found} is refused: only the command line may say where to write files.\n"
            f"Try: {CACHE}=FOLDER on the command line"
        )


def refuse_trackers(found: object, own: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise UserError if files say where our trackers send a run; `own` are the settings we ship, by class."""
    for name, values in found.items() if isinstance(found, Mapping) else ():
        if not isinstance(values, Mapping):
            raise UserError(f"{TRACK}.{name}: {values!a} is refused: expected a tracker's settings.\nTry: {TRACK}=none")
        shipped = own.get(str(values.get("_target_")), {} if _is_ours(values.get("_target_")) else values)
        for key, value in values.items():
            if key not in shipped or shipped[key] != value:
                raise UserError(
                    f"{TRACK}.{name}.{key}: {value!a} is refused: only the command line may say where to send a run.\n"
                    f"Try: {TRACK}.{name}.{key}=VALUE on the command line"
                )


def _is_ours(target: object) -> bool:
    """Return whether a class is ours, or none is named: its settings are then put into one of ours."""
    return not isinstance(target, str) or target.partition(".")[0] == "unlearnbench"


def refuse_words(words: Iterable[tuple[str, Any]]) -> None:
    """Raise UserError for an override, given as key and value, that is not allowed under hydra."""
    for word, value in words:
        key = word.lstrip("+~")
        if key == "hydra.searchpath":
            continue  # `loader.Files` checks the folders
        refuse_references(value, key)
        if key.startswith("hydra/"):
            raise UserError(f"{key}={value} is refused: {CHOICES}")
        if re.split(r"[.@\[]", key)[0] == "hydra":
            _refuse_setting(key, value, by_hand=True)


def refuse_hydra(found: Any, own: Any, typed: Iterable[str] = ()) -> None:
    """Raise UserError if Hydra's settings differ from the defaults, with few exceptions.

    `own` are the defaults of Hydra, the installed launchers and our run.yaml; `typed` are the command line's keys.
    """
    (found, parameters), (own, _) = _apart(found), _apart(own)
    _refuse_setting(_PARAMETERS, parameters, by_hand=False)
    given, ours, typed = dict(_leaves(found, "hydra")), dict(_leaves(own, "hydra")), set(typed)
    for path, value in given.items():
        if path not in ours or ours[path] != value or type(ours[path]) is not type(value):
            _refuse_setting(path, value, by_hand=path in typed)
    for path in ours.keys() - given.keys():
        _refuse_setting(path, None, by_hand=False)


def _apart(settings: Any) -> tuple[Any, Any]:
    """Return Hydra's settings without the sweep's parameters, and those parameters."""
    sweeper = settings.get("sweeper") if isinstance(settings, dict) else None
    if not isinstance(sweeper, dict):
        return settings, None
    rest = {key: value for key, value in sweeper.items() if key != "params"}
    return {**settings, "sweeper": rest}, sweeper.get("params")


def _refuse_setting(path: str, value: Any, *, by_hand: bool) -> None:
    """Raise UserError if a setting under hydra. is not allowed, or not with this value."""
    section, _, last = path.rpartition(".")
    if path in PLACES:
        if not by_hand:
            raise UserError(f"{path}={value} is refused: only the command line may say where to write files.")
    elif path == _PARAMETERS or path.startswith(f"{_PARAMETERS}."):
        _refuse_parameters(value if path == _PARAMETERS else {path.removeprefix(f"{_PARAMETERS}."): value})
    elif last not in SETTINGS.get(section, ()):
        hint = nearest(last, SETTINGS.get(section, ()))
        raise UserError(f"{path}={value} is refused: it may not change this setting of Hydra.{hint}\n{_MAY}")
    elif not all(_is_plain(one) for one in (value if isinstance(value, list) else [value])):
        raise UserError(f"{path}={value!a} is refused: expected a number or a plain word.")


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return not value or _WORD.fullmatch(value) is not None
    return not isinstance(value, (dict, list))


def _refuse_parameters(values: Any) -> None:
    """Raise UserError if a sweep's parameter is not a key of a run, or its values are not plain text."""
    for key, value in values.items() if isinstance(values, dict) else ():
        found = _PARAMETER.fullmatch(str(key))
        if not found or found[1] in ("hydra", ROOT, TRACK) or str(key).lstrip("+") == CACHE:
            raise UserError(
                f"{_PARAMETERS}.{key} is refused: expected a group or a key of a run other than {ROOT}, "
                f"{TRACK} and {CACHE}."
            )
        if isinstance(value, (dict, list)) or not str(value).isprintable() or _references(str(value)):
            raise UserError(f"{_PARAMETERS}.{key}={value!a} is refused: expected values, as in 'A,B'.")
    if not isinstance(values, dict) and values is not None:
        raise UserError(f"{_PARAMETERS}={values!a} is refused: expected values by key.")


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings with their dotted paths.

    A list is a leaf, and odd keys are quoted.
    """
    if isinstance(node, dict) and node:
        for key, child in node.items():
            part = key if isinstance(key, str) and key.isidentifier() else repr(key)
            yield from _leaves(child, f"{path}.{part}" if path else part)
    else:
        yield path, node
