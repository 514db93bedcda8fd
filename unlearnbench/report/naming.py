"""Tell configurations with the same name apart, briefly, by the overrides that differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

METHOD = ("tuning", "scale")
"""Groups that may set a method's values, in addition to `method.<field>`."""
SILENT = (
    "experiment", "dataset", "forget", "model", "method", "tuning", "seed", "reference.count",
    "outputs", "save_model", "plots", "reported", "device", "deterministic", "dataset.root", "dataset.download",
    "eval.root", "eval.exposed",
)  # fmt: skip
"""Keys that do not distinguish settings: they are already in a title, or in no digest."""

Facts = Mapping[str, Mapping[str, Any]]


WITHOUT = "without references"
"""What is added to the setting of runs without retrained models, where others of the setting have some."""


def settings(facts: Facts, group: Sequence[str]) -> dict[str, str]:
    """Return each run's setting by run_id; "" if its group has only one.

    Runs without retrained models cannot be ranked beside others, so theirs is a setting of its own. So are those with
    other settings of an evaluation: 16 and 64 shadow models give different numbers of one name.
    """
    facts = _by_evaluation(facts, group)
    named = _told_apart(facts, group, "setting", _sets_the_rest)
    place = {key: (named[key], *(result.get(name, "") for name in group)) for key, result in facts.items()}
    compared = {place[key] for key, result in facts.items() if result.get("references") != 0}
    alone = {key for key, result in facts.items() if result.get("references") == 0 and place[key] in compared}
    return {key: ", ".join(filter(None, (name, WITHOUT))) if key in alone else name for key, name in named.items()}


def _by_evaluation(facts: Facts, group: Sequence[str]) -> Facts:
    """Return facts with settings of evaluations where they differ between the runs, to tell these apart."""
    place = {
        key: (result.get("setting", ""), *(result.get(name, "") for name in group)) for key, result in facts.items()
    }
    known: dict[tuple[Any, ...], dict[str, set[str]]] = {}
    for key, result in facts.items():
        for name, digest in result.get("evaluation_settings", {}).items():
            known.setdefault(place[key], {}).setdefault(name, set()).add(digest)
    found = {}
    for key, result in facts.items():
        several = sorted(name for name, digests in known.get(place[key], {}).items() if len(digests) > 1)
        own = [result.get("evaluation_settings", {}).get(name, "") for name in several]
        found[key] = {**result, "setting": "-".join([str(result.get("setting", "")), *own])}
    return found


def variants(facts: Facts, group: Sequence[str]) -> dict[str, str]:
    """Return each run's method by run_id, with overrides if a setting has several of it."""
    added = _told_apart(facts, (*group, "setting", "method"), "method_setting", _sets_the_method)
    return {key: result["method"] + (f" ({added[key]})" if added[key] else "") for key, result in facts.items()}


def _told_apart(facts: Facts, cell: Sequence[str], kind: str, counts: Callable[[str], bool]) -> dict[str, str]:
    """Name each run's digest within its cell, by the fewest overrides that led to it."""
    found: dict[tuple[Any, ...], dict[str, list[frozenset[str]]]] = {}
    place = {key: tuple(result.get(name, "") for name in cell) for key, result in facts.items()}
    for key, result in facts.items():
        words = (word.lstrip("+") for word in result.get("overrides", []))
        given = frozenset(word for word in words if counts(word.lstrip("~").partition("=")[0]))
        found.setdefault(place[key], {}).setdefault(result.get(kind, ""), []).append(given)
    names = {cell: _names(digests) for cell, digests in found.items()}
    return {key: names[place[key]][result.get(kind, "")] for key, result in facts.items()}


def _names(found: Mapping[str, Sequence[frozenset[str]]]) -> dict[str, str]:
    """Name digests by the overrides they do not share, and by themselves if names are equal."""
    if len(found) == 1:
        return dict.fromkeys(found, "")
    fewest = {digest: min(given, key=lambda words: (len(words), sorted(words))) for digest, given in found.items()}
    shared = frozenset.intersection(*fewest.values())
    names = {digest: ", ".join(sorted(words - shared)) or "defaults" for digest, words in fewest.items()}
    taken = list(names.values())
    return {digest: name if taken.count(name) == 1 else f"{name}, {digest}" for digest, name in names.items()}


def _sets_the_method(key: str) -> bool:
    return key.startswith("method.") or key in METHOD


def _sets_the_rest(key: str) -> bool:
    return not key.startswith(("method.", "forget.", "hydra.", "margin.")) and key not in SILENT
