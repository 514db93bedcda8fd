"""Compose a command line with Hydra, and refuse anything that could run code."""

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
"""The scale that a preset has only if it has its own file for it."""


@dataclass(frozen=True)
class Request:
    """One composed run: plain values, the choice in each group, and the overrides."""

    config: dict[str, Any]
    choices: dict[str, str | None]
    overrides: tuple[str, ...]
    in_sweep: bool = False

    @property
    def outputs(self) -> Path:
        """The folder to write everything into."""
        return Path(str(self.config["outputs"]))

    def name(self, group: str) -> str:
        """The choice in a group, or ""."""
        return self.choices.get(group) or ""

    @property
    def model(self) -> str:
        """The model's name in results."""
        return model_name(self.name("model"), self.config.get("model"))


@dataclass(frozen=True)
class Composed:
    """A composed command line: a single run, or a sweep with its parameters.

    `dated` says whether the sweep's folder is named by date and time rather than chosen by the user.
    """

    request: Request
    sweep: bool
    parameters: tuple[str, ...]
    sweep_dir: Path
    dated: bool = True


def model_name(choice: str, model: Any) -> str:
    """Return a model's name in results: its choice, or timm_<architecture> for model=timm."""
    if choice != "timm" or not isinstance(model, Mapping):
        return choice
    return f"timm_{model.get('architecture')}"


def compose(overrides: Sequence[str], folders: Sequence[Path] = (), sweep: bool = False) -> Composed:
    """Compose single-valued overrides into plain values.

    Raises UserError with a remedy if that fails.
    """
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
    """Raise UserError for an override of Hydra's search path; use `--config-dir` instead."""
    for override in overrides:
        if override.strip(" +~").startswith("hydra.searchpath"):
            raise UserError(f"{override} is refused: it can import packages.\nTry: --config-dir FOLDER")


def search_path(folders: Sequence[Path]) -> list[str]:
    """Return the override that adds configuration folders to Hydra's search, if any."""
    found = [text(f"file://{folder.resolve()}") for folder in (*folders, *plugins.config_folders())]
    return [f"hydra.searchpath=[{','.join(found)}]"] if found else []


def scaled(overrides: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """Use the preset's own file for a scale: experiment=P scale=S becomes experiment=P_S.

    A scale may change the model, but Hydra does not let a group's configuration override other groups. Presets without
    their own file use the group's file for that scale; for `OWN_FILES` there is none.
    Raises UserError for several scales, or if only some of the presets have the scale.
    """
    given = dict(word.split("=", 1) for word in overrides if word.startswith(("experiment=", "scale=")))
    known, scale = choices_of("experiment", folders), given.get("scale", "")
    names = given.get("experiment", "").split(",")
    if "," in scale:
        raise UserError(f"scale={scale}: expected one scale.\nTry: scale={scale.partition(',')[0]}")
    without = [name for name in names if f"{name}_{scale}" not in known]
    if (scale == OWN_FILES and without) or 0 < len(without) < len(names):
        have = ", ".join(name.removesuffix(f"_{scale}") for name in known if name.endswith(f"_{scale}"))
        who = f"experiment={without[0]}" if without[0] else "a run without a preset"
        raise UserError(f"{who} has no scale={scale} of its own.\nThese presets have it: {have}.\nTry: scale=smoke")
    if without:
        return list(overrides)
    taken = ",".join(f"{name}_{scale}" for name in names)
    words = [f"experiment={taken}" if word.startswith("experiment=") else word for word in overrides]
    return [word for word in words if not word.startswith("scale=")]


def expand(
    overrides: Sequence[str], parameters: Sequence[str], folders: Sequence[Path] = ()
) -> Iterator[tuple[str, ...]]:
    """Yield single-valued overrides that cover all values and combinations of group choices.

    The product is only over groups: each value of a plain key is tried once, so that checking a sweep costs far less
    than running it. An override replaces a preset's parameter of the same name, as in Hydra's sweepers. Raises
    UserError for an override that does not parse.
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
    """Return a swept override's values as overrides; for an interval, its two ends."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    key, value = item.get_key_element(), item.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    if isinstance(value, Glob):
        found = value.filter(choices_of(item.key_or_group, folders))
        if not found:
            raise UserError(f"{item.input_line} does not match any choice.\nTry: `unlearnbench list`")
        return [f"{key}={name}" for name in found]
    return [f"{key}={text}" for text in item.sweep_string_iterator()]


def from_job(config: DictConfig, choices: dict[str, str | None], overrides: Sequence[str]) -> Request:
    """Turn the configuration of a sweep's job, as Hydra composed it, into a request."""
    request = Request(_resolved(config), choices, tuple(overrides), in_sweep=True)
    _refuse_names(request)
    return request


def _resolved(config: Any) -> dict[str, Any]:
    """Return a run's settings as plain values; raise UserError for endless references."""
    extent.refuse_growth(OmegaConf.to_container(config, resolve=False))
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _refuse_names(request: Request) -> None:
    """Raise UserError unless choices and the model's name are plain: they name folders."""
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
        raise UserError("outputs has no value.\nTry: outputs=FOLDER; the default is outputs=outputs")
    request = Request(values, choices, tuple(overrides))
    _refuse_names(request)
    return Composed(request, multirun, parameters, sweep_dir, dated)


def _by_groups(overrides: Sequence[str], folders: Sequence[Path]) -> Request:
    """Compose only the group choices; return an empty request if they do not compose."""
    groups = [override for override in overrides if override.partition("=")[0] in GROUPS]
    if len(groups) == len(overrides):  # these very overrides do not compose
        return Request({}, {}, ())
    try:
        return compose(groups, folders).request
    except UserError:
        return Request({}, {}, ())
