"""Hydra at arm's length: what a command line asks for, composed, and refused where it could run code."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from unlearnbench.errors import UserError
from unlearnbench.request import extent, plugins
from unlearnbench.request.choices import choices_of, is_group
from unlearnbench.request.config import GROUPS, config_root
from unlearnbench.request.explain import MALFORMED, explain
from unlearnbench.request.refusals import refuse_names
from unlearnbench.request.words import escaped, literal, text

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

OWN_FILES = "cpu"
"""The scale that only presets with a file of their own have."""


@dataclass(frozen=True)
class Request:
    """One run as composed: plain values, the choice made in each group, and the overrides that asked for it."""

    config: dict[str, Any]
    choices: dict[str, str | None]
    overrides: tuple[str, ...]
    in_sweep: bool = False

    @property
    def outputs(self) -> Path:
        """The folder everything is written below."""
        return Path(str(self.config["outputs"]))

    def name(self, group: str) -> str:
        """The choice made in a group, or an empty string."""
        return self.choices.get(group) or ""

    @property
    def model(self) -> str:
        """The model's name in results."""
        return model_name(self.name("model"), self.config.get("model"))


@dataclass(frozen=True)
class Composed:
    """A composed command line: a single run, or a sweep with its parameters.

    `dated` says that the sweep's folder is named by the clock, and not the very one that somebody asks for.
    """

    request: Request
    sweep: bool
    parameters: tuple[str, ...]
    sweep_dir: Path
    dated: bool = True


def model_name(choice: str, model: Any) -> str:
    """Name a model in results: by its choice, of timm's models at large by timm's name of it, as timm_<name>."""
    if choice != "timm" or not isinstance(model, Mapping):
        return choice
    return f"timm_{model.get('architecture')}"


def compose(overrides: Sequence[str], folders: Sequence[Path] = (), sweep: bool = False) -> Composed:
    """Compose overrides (without sweeps over several values) into plain values; raise UserError naming the remedy."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from unlearnbench.request.loader import checked

    _refuse_search(overrides)
    extent.refuse_words(overrides)
    GlobalHydra.instance().clear()
    try:
        with checked(), initialize_config_dir(str(config_root()), version_base="1.3"):
            config = hydra_compose("run", [*search_path(folders), *literal(overrides)], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError, *MALFORMED) as error:
        raise UserError(explain(error, overrides, folders, lambda: _by_groups(overrides, folders))) from error
    return _plain(config, overrides, sweep)


def _refuse_search(overrides: Sequence[str]) -> None:
    """Raise UserError for an override that names places of configurations: `--config-dir` says which."""
    for override in overrides:
        if override.strip(" +~").startswith("hydra.searchpath"):
            raise UserError(f"{override} is refused: it can import packages.\nTry: --config-dir FOLDER")


def search_path(folders: Sequence[Path]) -> list[str]:
    """Return the override that shows Hydra further configuration folders, those of plugins included, or none."""
    found = [text(f"file://{folder.resolve()}") for folder in (*folders, *plugins.config_folders())]
    return [f"hydra.searchpath=[{','.join(found)}]"] if found else []


def scaled(overrides: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """Take the preset's own file for a scale, where it has one: experiment=P scale=S becomes experiment=P_S.

    Hydra lets no configuration that is found by another's choice override groups, and a scale may change the model.
    The group's own file of that scale is for presets that have none; `OWN_FILES` has no such.
    Raises UserError for several scales, and for presets of which some only have the scale.
    """
    given = dict(word.split("=", 1) for word in overrides if word.startswith(("experiment=", "scale=")))
    known, scale = choices_of("experiment", folders), given.get("scale", "")
    names = given.get("experiment", "").split(",")
    if "," in scale:
        raise UserError(f"scale={scale}: one scale at a time.\nTry: scale={scale.partition(',')[0]}")
    without = [name for name in names if f"{name}_{scale}" not in known]
    if (scale == OWN_FILES and without) or 0 < len(without) < len(names):
        have = ", ".join(name.removesuffix(f"_{scale}") for name in known if name.endswith(f"_{scale}"))
        who = f"experiment={without[0]}" if without[0] else "a run without a preset"
        raise UserError(f"{who} has no scale={scale} of its own.\nIt is a scale of: {have}.\nTry: scale=smoke")
    if without:
        return list(overrides)
    taken = ",".join(f"{name}_{scale}" for name in names)
    words = [f"experiment={taken}" if word.startswith("experiment=") else word for word in overrides]
    return [word for word in words if not word.startswith("scale=")]


def expand(
    overrides: Sequence[str], parameters: Sequence[str], folders: Sequence[Path] = ()
) -> Iterator[tuple[str, ...]]:
    """Yield single-valued override lists that together show every value and every combination of group choices.

    The product is taken over groups only: values of plain keys are each tried once, so that checking a sweep
    costs far less than running it. An override replaces the parameter (of a preset) of its name, as it does for
    Hydra's sweepers. Raises UserError for an override that does not parse.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    extent.refuse_words([*parameters, *overrides])
    try:
        parsed = OverridesParser.create().parse_overrides([*parameters, *literal(overrides)])
    except (HydraException, RecursionError) as error:
        raise UserError(explain(error, overrides, folders, lambda: _by_groups(overrides, folders))) from error
    last = {item.get_key_element(): item for item in parsed}.values()
    plain = [item.input_line or "" for item in last if not item.is_sweep_override()]
    swept = [item for item in last if item.is_sweep_override()]
    extent.refuse_jobs(swept, lambda item: _values(item, folders))
    groups = [_values(item, folders) for item in swept if is_group(item.key_or_group, folders)]
    values = [_values(item, folders) for item in swept if not is_group(item.key_or_group, folders)]
    first = tuple(column[0] for column in values)
    for combination in itertools.product(*groups):
        yield (*plain, *combination, *first)
    base = tuple(column[0] for column in groups)
    for place, column in enumerate(values):
        for value in column[1:]:
            yield (*plain, *base, *first[:place], value, *first[place + 1 :])


def _values(item: Override, folders: Sequence[Path]) -> list[str]:
    """Return a swept override's values as overrides; of an interval, as optimisers take it, its two ends."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    key, value = item.get_key_element(), item.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    if isinstance(value, Glob):
        found = value.filter(choices_of(item.key_or_group, folders))
        if not found:
            raise UserError(f"{item.input_line} matches no choice.\nTry: `unlearnbench list`")
        return [f"{key}={name}" for name in found]
    return [f"{key}={text}" for text in item.sweep_string_iterator()]


def from_job(config: DictConfig, choices: dict[str, str | None], overrides: Sequence[str]) -> Request:
    """Turn the configuration that Hydra hands a job of a sweep into a request."""
    request = Request(_resolved(config), choices, tuple(overrides), in_sweep=True)
    _refuse_names(request)
    return request


def _resolved(config: Any) -> dict[str, Any]:
    """Return a run's settings as plain values; raise UserError if they refer to each other without end."""
    extent.refuse_growth(OmegaConf.to_container(config, resolve=False))
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _refuse_names(request: Request) -> None:
    """Raise UserError if the choices and the model's name are no plain ones: runs and their folders go by them."""
    refuse_names(request.choices)
    refuse_names({"model": request.model})


def _plain(config: DictConfig, overrides: Sequence[str], sweep: bool) -> Composed:
    from hydra.types import RunMode

    try:
        ours = [str(key) for key in config if key != "hydra"]
        values = _resolved(OmegaConf.masked_copy(config, ours))
        choices = {group: config.hydra.runtime.choices.get(group) for group in GROUPS}
        multirun = sweep or config.hydra.mode == RunMode.MULTIRUN
        parameters = tuple(f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items())
        sweep_dir = Path(str(config.hydra.sweep.dir)) if multirun else Path()
        dated = "${now:" in str(OmegaConf.to_container(config.hydra.sweep, resolve=False))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the configuration does not resolve: {reason}{escaped(overrides)}") from error
    if not isinstance(values.get("outputs"), str):
        raise UserError("outputs has no value.\nTry: outputs=FOLDER, or without it: outputs=outputs")
    request = Request(values, choices, tuple(overrides))
    _refuse_names(request)
    return Composed(request, multirun, parameters, sweep_dir, dated)


def _by_groups(overrides: Sequence[str], folders: Sequence[Path]) -> Request:
    """Return what the group choices alone come to, or an empty request where they do not compose."""
    groups = [override for override in overrides if override.partition("=")[0] in GROUPS]
    if len(groups) == len(overrides):  # they alone are what does not compose
        return Request({}, {}, ())
    try:
        return compose(groups, folders).request
    except UserError:
        return Request({}, {}, ())
