"""Hydra's loader, changed to check everything that Hydra composes before anything acts on it.

All compositions go through here, in this process or a launcher's: for a run, a sweep's job, `--cfg`, `--help` or
completion. It checks at three points: before a file is read (`Files.load_config`), once the files are merged
(`_compose_config_from_defaults_list`), and once the command line is applied (`load_configuration`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from hydra._internal import hydra as hydra_app
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from unlearnbench.errors import UserError
from unlearnbench.request import scan
from unlearnbench.request.config import config_root
from unlearnbench.request.refusals import (
    CHOICES,
    ROOT,
    refuse_cache,
    refuse_hydra,
    refuse_path,
    refuse_references,
    refuse_trackers,
    refuse_words,
)

OWN = {
    **{"hydra/config": "hydra", "hydra/output/default": "hydra", "hydra/env/default": "hydra.env"},
    **{"hydra/launcher/basic": "hydra.launcher", "hydra/sweeper/basic": "hydra.sweeper"},
    **{"hydra/help/default": "hydra.help", "hydra/hydra_help/default": "hydra.hydra_help"},
    **{
        f"hydra/{log}/{name}": f"hydra.{log}"
        for log in ("hydra_logging", "job_logging")
        for name in ("none", "default")
    },
}
"""Hydra's own files that are allowed, with their places; `default` logging is only used by `--hydra-help`."""
FILLED_IN = ("overrides", "runtime", "searchpath")
FILLED_IN_OF_JOB = ("name", "override_dirname", "config_name")
"""Settings that Hydra or we fill in after the files are merged."""


class Refused(BaseException):
    """Carries a UserError through Hydra, which would report any Exception as a bug in the application."""


@contextmanager
def checked() -> Iterator[None]:
    """Check everything that Hydra composes inside the block.

    Raises UserError for anything refused.
    """
    scan.watch()
    app: Any = hydra_app
    before, app.ConfigLoaderImpl = app.ConfigLoaderImpl, Checked
    try:
        yield
    except Refused as refused:
        raise UserError(str(refused)) from refused.__cause__
    finally:
        app.ConfigLoaderImpl = before


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise Refused(str(error)) from error


class Files(ConfigRepository):
    """The files of all folders: plain names only, and Hydra's groups only from Hydra."""

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Set where to look for files; refuse packages, because Hydra would import them."""
        for place in config_search_path.get_path():
            if _by_search(place.provider) and not str(place.path).startswith("file://"):
                raise Refused(f"{place.path} is refused: it can import packages.\nTry: --config-dir FOLDER")
        super().initialize_sources(config_search_path)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Read a file named in a defaults list or on the command line."""
        with _refusing():
            refuse_path(config_path)
            found = super().load_config(config_path)
            if found is not None and _by_search(found.provider):
                refuse_references(OmegaConf.to_container(found.config, resolve=False), config_path)
            for default in (found.defaults_list or []) if found is not None else []:
                refuse_references([text for value in vars(default).values() for text in _texts(value)], config_path)
        return found

    def _find_object_source(self, config_path: str, object_type: ObjectType | None) -> ConfigSource | None:
        known = [source for source in self.sources if not (_is_hydras(config_path) and _by_search(source.provider))]
        is_file = object_type == ObjectType.CONFIG
        return next((one for one in known if (one.is_config if is_file else one.is_group)(config_path)), None)


class Checked(ConfigLoaderImpl):
    """Hydra's loader over `Files`; compares the merged files with Hydra's own settings and ours."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = Files(config_search_path)
        self.own: dict[str, Any] = {}

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose; raise Refused for anything that a file or the command line may not set."""
        parsed = OverridesParser.create().parse_overrides(overrides)
        words = [(item.get_key_element(), _plain_value(item)) for item in parsed]
        with _refusing():
            refuse_words(words)
        config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        with _refusing():
            self._check(config, [key.lstrip("+~") for key, _ in words])
        return config

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        with _refusing():
            own = tuple(_own_part(item) for item in defaults if item.primary or _is_hydras(item.config_path or ""))
        places = tuple((place.provider, place.path) for place in self.config_search_path.get_path())
        self.own = _own_of(places, own)
        config = super()._compose_config_from_defaults_list(defaults, repo)
        with _refusing():
            self._check(config, None)
        return config

    def _check(self, config: DictConfig, typed: Sequence[str] | None) -> None:
        """Raise UserError if files (typed is None), or files and the command line, set what they may not."""
        values = OmegaConf.to_container(config, resolve=False)
        assert isinstance(values, dict)
        found, own = values.pop("hydra", None), self.own.get("hydra")
        if typed is None and values.get(ROOT) != self.own.get(ROOT):
            raise UserError(
                f"{ROOT}: {values.get(ROOT)} is refused: only the command line may say where to write files.\n"
                f"Try: {ROOT}=FOLDER on the command line"
            )
        if typed is None:
            refuse_cache(values.get("dataset"))
            refuse_trackers(values.get("track"), _trackers())
        refuse_references(values)
        if typed is not None:
            found, own = _as_given(found), _as_given(own)
        refuse_hydra(found, own, typed or ())


@cache
def _trackers() -> dict[str, dict[str, Any]]:
    """Return the settings that we ship for our trackers, by their class."""
    found: list[Any] = [
        OmegaConf.to_container(OmegaConf.load(file)) for file in sorted((config_root() / "track").glob("*.yaml"))
    ]
    return {str(values["_target_"]): values for values in found if values}


@cache
def _own_of(
    places: tuple[tuple[str, str], ...], parts: tuple[tuple[str, str | None, bool, bool], ...]
) -> dict[str, Any]:
    """Merge run.yaml and these files of Hydra and installed launchers, ignoring users' folders."""
    search_path = ConfigSearchPathImpl()
    for provider, path in places:
        search_path.append(provider, path)
    loader = ConfigLoaderImpl(search_path)
    defaults = [
        ResultDefault(config_path=path, package=package, primary=primary, is_self=is_self)
        for path, package, primary, is_self in parts
    ]
    merged = loader._compose_config_from_defaults_list(defaults, CachingConfigRepository(loader.repository))
    values = OmegaConf.to_container(merged, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _own_part(item: ResultDefault) -> tuple[str, str | None, bool, bool]:
    """Return the identity of one of Hydra's files or run.yaml.

    Raises UserError for a file that is not allowed.
    """
    path = str(item.config_path)
    if not item.primary and item.package != OWN.get(path):
        raise UserError(f"{path} is refused: {CHOICES}")
    return path, item.package, item.primary, item.is_self


def _as_given(settings: Any) -> Any:
    """Return Hydra's settings without the ones that Hydra fills in."""
    if not isinstance(settings, dict) or not isinstance(settings.get("job"), dict):
        return settings
    job = {key: value for key, value in settings["job"].items() if key not in FILLED_IN_OF_JOB}
    return {**{key: value for key, value in settings.items() if key not in FILLED_IN}, "job": job}


def _is_hydras(path: str) -> bool:
    return path.partition("/")[0] == "hydra"


def _by_search(provider: str | None) -> bool:
    """Return whether a place comes from --config-dir or a plugin package rather than from Hydra or us."""
    return str(provider).startswith("hydra.searchpath")


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _plain_value(item: Any) -> Any:
    """Return an override's value; for a sweep's several values, their text as typed."""
    return item.get_value_string() if item.is_sweep_override() else item.value()
