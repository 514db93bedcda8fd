"""`unlearnbench run --from RUN`: a run that was made before, here or elsewhere, made again from its folder."""

from __future__ import annotations

import itertools
import math
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from unlearnbench.errors import UserError, counted
from unlearnbench.files import stored, sums
from unlearnbench.files.escapes import printable
from unlearnbench.machine import provenance
from unlearnbench.report import facts
from unlearnbench.report.collect import jobs
from unlearnbench.report.facts import Facts
from unlearnbench.request import plugins, scan
from unlearnbench.request.choices import choices_of
from unlearnbench.request.stored import NOT_OF_A_RUN, changes, choices_in, key_of, words_of
from unlearnbench.request.words import ONE, PLACES
from unlearnbench.results.rows import read_metrics

if TYPE_CHECKING:
    from unlearnbench.runs.launch import Outcome

READ = ("config.yaml", "result.json")
AGAIN = "Try: the command that made it, which makes a damaged run anew; unlearnbench verify lists all that is damaged"
SHORT = 12
"""Letters of a git revision that are shown."""


@dataclass(frozen=True)
class Repeat:
    """A run that is made again: its folder, what it says of itself, and the words that compose it here.

    `kept` are the words of defaults that have changed since. `changed` says whether it becomes another run.
    """

    folder: Path
    facts: Facts
    words: tuple[str, ...]
    kept: tuple[str, ...]
    changed: bool

    def check_places(self, config: Mapping[str, Any]) -> None:
        """Raise UserError where the run read files by absolute paths that are not on this machine."""
        gone = {
            key: value
            for key in PLACES
            if key not in ONE and isinstance(value := _at(config, key), str) and os.path.isabs(value)
            if not os.path.exists(value) and not (key == "dataset.root" and _at(config, "dataset.download"))
        }
        if gone:
            named = ", ".join(f"{key}={printable(value)}" for key, value in gone.items())
            words = " ".join(f"{key}={'FILE' if Path(value).suffix else 'FOLDER'}" for key, value in gone.items())
            raise UserError(
                f"the run in {self.folder} read {named}, which is not on this machine.\n"
                f"Try: unlearnbench run --from {shlex.quote(str(self.folder))} {words}"
            )

    def differences(self) -> Iterator[str]:
        """Yield a line where versions or source were others then, and one for defaults that are kept."""
        here, then = provenance.versions(), self.facts.versions
        names = [name for name in {**then, **here} if then.get(name) != here.get(name)]
        before = [f"{name} {then.get(name, 'absent')}" for name in names]
        now = [f"{name} {here.get(name, 'absent')}" for name in names]
        revision = provenance.git_revision()
        if self.facts.git_revision and revision and self.facts.git_revision != revision:
            before.append(f"source {_short(self.facts.git_revision)}")
            now.append(f"source {_short(revision)}")
        if before:
            yield printable(f"{self.folder} was made with {', '.join(before)}; here: {', '.join(now)}")
        if self.kept:
            yield printable(f"other defaults today, kept as they were in the run: {' '.join(self.kept)}")

    def compared(self, outcome: Outcome) -> Iterator[str]:
        """Yield whether the metrics of a run that was not changed are those that are stored."""
        if self.changed or os.path.realpath(outcome.folder) == os.path.realpath(self.folder):
            return
        run_id = outcome.folder.name.rpartition("_")[2]
        if run_id != self.facts.run_id:
            yield f"its key was {self.facts.run_id} and is {run_id}: source code, data or settings have changed since"
        if "done" not in (status := {outcome.status, self.facts.status}) or len(status) > 1:
            yield f"metrics not compared: the stored run is {self.facts.status}, this one {outcome.status}"
            return
        if damage := sums.changed(self.folder, "metrics.csv"):
            yield f"metrics not compared: {printable(damage)}"
            return
        try:
            yield _told(_values(self.folder), _values(outcome.folder), printable(str(self.folder)))
        except (OSError, ValueError) as error:
            yield f"metrics not compared: {printable(stored.why(error))}"


def of(folder: Path, further: Sequence[str], folders: Sequence[Path]) -> Repeat:
    """Return the run in a folder to be made again with further words; raise UserError for one that cannot be."""
    found = _facts(folder)
    try:
        config: Any = OmegaConf.to_container(scan.load(folder / "config.yaml"), resolve=False)
        header = stored.content(folder / "config.yaml").decode()
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} cannot be read: {stored.why(error)}.\n{AGAIN}") from error
    chosen = choices_in(header)
    replaced = {key_of(word) for word in further}
    _check_known(folder, found, _without(config, replaced), _without(chosen, replaced), folders)
    try:
        words, kept = words_of(config, chosen, found.overrides, further, folders)
    except UserError as error:
        raise UserError(f"the configuration of {folder}, with what you typed: {error}") from error
    return Repeat(folder, found, (*words, *_outputs(folder, config, replaced)), tuple(kept), changes(further))


def _facts(folder: Path) -> Facts:
    """Read result.json; raise UserError for a sweep, a folder that is no run, and a damaged run."""
    if (folder / "jobs.csv").exists():
        one = next((job.run_folder for job in jobs(folder) if not isinstance(job, str) and job.run_folder), "RUN")
        raise UserError(
            f"{folder} is a sweep, and --from repeats one run.\n"
            f"Try: unlearnbench run --from {shlex.quote(printable(one))}, or the sweep's own command again"
        )
    if not (folder / "result.json").exists():
        raise UserError(f"{folder} is not a run's folder.\nTry: unlearnbench run --from outputs/runs/NAME")
    for name in READ:
        if damage := sums.changed(folder, name):
            raise UserError(f"{folder} is damaged: {printable(damage)}.\n{AGAIN}")
    try:
        return facts.read(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} cannot be read: {printable(stored.why(error))}.\n{AGAIN}") from error


def _check_known(
    folder: Path, found: Facts, config: Mapping[str, Any], chosen: Mapping[str, str], folders: Sequence[Path]
) -> None:
    """Raise UserError where a run needs a configuration folder or a plugin that was not named."""
    missing = [f"{group}={name}" for group, name in chosen.items() if name not in choices_of(group, folders)]
    modules = sorted({one.rpartition(".")[0] for one in _targets(_without(config, NOT_OF_A_RUN))})
    foreign = [module for module in modules if not plugins.trusted(module)]
    if not missing and not foreign:
        return
    flags = [*(["--config-dir FOLDER"] if missing else []), *(["--plugin FILE.py"] if foreign else [])]
    needs = [*missing, *(f"classes of {module}" for module in foreign)]
    raise UserError(
        f"the run in {folder} has {printable(', '.join(needs))}, which are not part of unlearnbench.{_named(found)}\n"
        f"Try: unlearnbench run --from {shlex.quote(str(folder))} {' '.join(flags)}"
    )


def _without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _named(found: Facts) -> str:
    """Return which files the run's own command named, to be looked for; nothing is taken from there."""
    words = found.command.split()
    given = [f"{flag} {name}" for flag, name in itertools.pairwise(words) if flag in ("--plugin", "--config-dir")]
    return f" It was made with {printable(' '.join(given))}: read such files before you trust them." if given else ""


def _targets(node: object) -> Iterator[str]:
    """Yield the classes that a configuration names."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for child in node.values():
            yield from _targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from _targets(child)


def _outputs(folder: Path, config: Mapping[str, Any], replaced: set[str]) -> list[str]:
    """Return the word for the outputs folder, where a run that lies in its own is repeated and no other is named."""
    place, said = folder.resolve().parent, config.get("outputs")
    if "outputs" in replaced or place.name != "runs" or not isinstance(said, str):
        return []
    return [f"outputs={said}"] if Path(said).resolve() == place.parent else []


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _short(revision: str) -> str:
    return revision[:SHORT] + ("+" if revision.endswith("+") else "")


def _values(folder: Path) -> dict[tuple[Any, ...], float]:
    table = read_metrics(folder)
    names = table[["request", "role", "split", "metric"]].itertuples(index=False, name=None)
    return dict(zip(names, table["value"].tolist(), strict=True))


def _told(then: Mapping[Any, float], now: Mapping[Any, float], folder: str) -> str:
    """Return in a line whether metrics are equal, or by how much they differ."""
    both = [name for name in then if name in now]
    apart = {name: abs(now[name] - then[name]) for name in both if not _equal(then[name], now[name])}
    alone = len(then) + len(now) - 2 * len(both)
    rest = f"; {counted(alone, 'metric')} in only one of the two" if alone else ""
    if not apart:
        return f"metrics: all {len(both)} are equal to those in {folder}, to the last digit{rest}"
    name = max(apart, key=lambda one: math.inf if math.isnan(apart[one]) else apart[one])
    _, role, split, metric = name
    return printable(
        f"metrics: {len(apart)} of {len(both)} differ from those in {folder}; the largest difference is "
        f"{apart[name]:.3g}: {metric} of {role} on {split}, {then[name]:.6g} then and {now[name]:.6g} now{rest}"
    )


def _equal(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))
