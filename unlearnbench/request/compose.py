"""Compose a command line with Hydra, and refuse anything that could run code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from unlearnbench.errors import UserError
from unlearnbench.request import extent, plugins
from unlearnbench.request.choices import choices_of
from unlearnbench.request.config import GROUPS, build_class, config_root
from unlearnbench.request.explain import MALFORMED, explain
from unlearnbench.request.names import method_name, model_name
from unlearnbench.request.refusals import refuse_names
from unlearnbench.request.words import escaped, literal, text

if TYPE_CHECKING:
    from unlearnbench.runners.runner import Runner

OWN_FILES = "cpu"
"""The scale that a preset has only if it has its own file for it."""

SHOWN_RUNS = 12
"""Up to this many runs, a report has each run's figures, about 300 kB per run."""


@dataclass(frozen=True)
class Request:
    """One composed run: plain values, the choice in each group, the overrides, and its sweep's number of jobs."""

    config: dict[str, Any]
    choices: dict[str, str | None]
    overrides: tuple[str, ...]
    sweep_jobs: int = 0

    @property
    def in_sweep(self) -> bool:
        """Whether it is a job of a sweep."""
        return self.sweep_jobs > 0

    @property
    def draws(self) -> bool:
        """Whether to draw the run's figures: as `plots` says, else where a report of its sweep would show them."""
        wanted = self.config.get("plots")
        return self.sweep_jobs <= SHOWN_RUNS if wanted is None else bool(wanted)

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

    @property
    def runner(self) -> type[Runner]:
        """The class of the runner; raises UserError where there is none."""
        if not self.config.get("runner"):
            raise UserError("runner: there is none.\nTry: runner=inline")
        found: type[Runner] = build_class(self.config["runner"].get("_target_"), "runner", ("runner",))
        return found

    @property
    def method(self) -> str:
        """The method's name in results."""
        return method_name(self.name("method"), self.config.get("method"))


@dataclass(frozen=True)
class Composed:
    """A composed command line: a single run, or a sweep with its parameters.

    `dated` says whether the sweep's folder is named by date and time rather than chosen by the user.
    `references` are the keys that values refer to.
    """

    request: Request
    sweep: bool
    parameters: tuple[str, ...]
    sweep_dir: Path
    dated: bool = True
    references: frozenset[str] = frozenset()


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
    hydra = GlobalHydra.instance()
    before = hydra.hydra  # of an application that calls us from Python
    hydra.clear()
    try:
        with checked(), initialize_config_dir(str(config_root()), version_base="1.3"):
            config = hydra_compose("run", [*search_path(folders), *literal(overrides)], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError, *MALFORMED) as error:
        raise UserError(explain(error, overrides, folders, lambda: by_groups(overrides, folders))) from error
    finally:
        GlobalHydra.instance().hydra = before
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


def _resolved(config: Any) -> dict[str, Any]:
    """Return a run's settings as plain values; raise UserError for endless references."""
    extent.refuse_growth(OmegaConf.to_container(config, resolve=False))
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def refuse_names_of(request: Request) -> None:
    """Raise UserError unless choices and the model's name are plain: they name folders."""
    refuse_names(request.choices)
    refuse_names({"model": request.model})


def _plain(config: DictConfig, overrides: Sequence[str], sweep: bool) -> Composed:
    from hydra.types import RunMode

    try:
        ours = [str(key) for key in config if key != "hydra"]
        unresolved = OmegaConf.masked_copy(config, ours)
        references = extent.references(OmegaConf.to_container(unresolved, resolve=False))
        values = _resolved(unresolved)
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
    refuse_names_of(request)
    return Composed(request, multirun, parameters, sweep_dir, dated, references)


def by_groups(overrides: Sequence[str], folders: Sequence[Path]) -> Request:
    """Compose only the group choices; return an empty request if they do not compose."""
    groups = [override for override in overrides if override.partition("=")[0] in GROUPS]
    if len(groups) == len(overrides):  # these very overrides do not compose
        return Request({}, {}, ())
    try:
        return compose(groups, folders).request
    except UserError:
        return Request({}, {}, ())
