"""Scan YAML files before loading them, without expanding: a small file may be endless.

All limits are far above what a configuration needs.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError
from unlearnbench.files.intake import text_of
from unlearnbench.request.config import config_root

SIZE = 128 * 1024
"""The most bytes in a YAML file."""
VALUES = 10_000
"""The most values in a YAML file, including those repeated by aliases."""
DEPTH = 20
"""The most levels of brackets or indentation."""
DIGITS = 100
"""The most characters in a number."""

_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
NUMBER = re.compile(rf"[-+]?[.\d][\da-fA-FxXoO_.:+-]{{{DIGITS},}}")
"""A number with too many digits: Python reads at most 4,300, and slowly."""


@dataclass
class _Open:
    """A mapping or sequence that has not ended yet."""

    anchor: str | None
    mapping: bool
    values: int = 1
    height: int = 1
    keys: set[str] = field(default_factory=set)
    expects_key: bool = True


def text(file: Path) -> str:
    """Return a YAML file's text after scanning it.

    Raises UserError with file and line if it is refused.
    """
    import yaml  # type: ignore[import-untyped]

    found = text_of(file, SIZE, "Try: a YAML file of names and values, in UTF-8")
    odd = _ODD.search(found)
    if odd:
        raise _refused(file, found.count("\n", 0, odd.start()), "contains a character that is not text")
    try:
        _walk(file, yaml.parse(found, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = str(getattr(error, "problem", "") or "it is damaged")
        raise _refused(file, mark.line if mark else 0, f"is not valid YAML: {reason}") from error
    return found


def watch() -> None:
    """Make Hydra read the files of --config-dir and plugins with `load`; ours are trusted."""
    from hydra._internal.core_plugins.file_config_source import FileConfigSource as Hydras
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.plugins.config_source import ConfigResult
    from omegaconf import OmegaConf

    class FileConfigSource(Hydras):  # same name as Hydra's class, so that the registry keeps it
        def load_config(self, config_path: str) -> ConfigResult:
            file = Path(self.path, self._normalize_file_name(config_path)).resolve()
            if not file.exists():
                return super().load_config(config_path)
            if config_root().resolve() not in file.parents:
                return ConfigResult(self.provider, f"file://{self.path}", load(file), _header(file))
            values, header = _ours(file, file.stat().st_mtime_ns)
            return ConfigResult(self.provider, f"file://{self.path}", OmegaConf.create(values), dict(header))

    SourcesRegistry.instance().types["file"] = FileConfigSource


@cache
def _ours(file: Path, _changed: int) -> tuple[Any, dict[str, str | None]]:
    """Return one of our files as plain values, and its settings for Hydra: a command composes several times."""
    from hydra.plugins.config_source import ConfigSource
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.load(file))
    return values, ConfigSource._get_header_dict(file.read_text("utf-8")[:512])


def _header(file: Path) -> dict[str, str | None]:
    """Return the settings for Hydra in a file's first comments, such as its package."""
    from hydra.plugins.config_source import ConfigSource

    try:
        return ConfigSource._get_header_dict(text(file)[:512])
    except (ValueError, AssertionError) as error:
        raise _refused(file, 0, f"has a comment that Hydra cannot read: {error}") from error


def load(file: Path) -> Any:
    """Return a YAML file's unresolved configuration.

    Raises UserError with the file's name if it is refused.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        return OmegaConf.load(io.StringIO(text(file)))
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{file} cannot be read: {reason}\nTry: a YAML file of names and values") from error


def _walk(file: Path, events: Iterator[Any]) -> None:
    """Raise UserError at the first event that a configuration must not contain."""
    import yaml

    stack: list[_Open] = []
    known: dict[str, tuple[int, int]] = {}
    documents = total = 0
    for event in events:
        line = event.start_mark.line
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _refused(file, line, "starts a second document")
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = stack.pop()
            if closed.anchor:
                known[closed.anchor] = closed.values, closed.height
            if stack:
                stack[-1].values += closed.values
                stack[-1].height = max(stack[-1].height, closed.height + 1)
        elif isinstance(event, yaml.NodeEvent):
            values, height = _judge(file, event, stack, known)
            total += values
            if total > VALUES:
                raise _refused(file, line, f"has more than {VALUES:,} values, including repeated ones")
            if len(stack) + height > DEPTH:
                raise _refused(file, line, f"is nested more than {DEPTH} deep")
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            elif stack:
                stack[-1].values += values
                stack[-1].height = max(stack[-1].height, height + 1)


def _judge(file: Path, event: Any, stack: list[_Open], known: dict[str, tuple[int, int]]) -> tuple[int, int]:
    """Return a node's number of values and its height; raise UserError if it is refused."""
    import yaml

    line = event.start_mark.line
    if not stack and not isinstance(event, yaml.MappingStartEvent) and getattr(event, "value", None) != "":
        raise _refused(file, line, "is not a mapping of names to values")
    if stack and stack[-1].mapping:
        if stack[-1].expects_key:
            _judge_key(file, event, stack[-1])
        stack[-1].expects_key = not stack[-1].expects_key
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in known:
            raise _refused(file, line, f"repeats &{event.anchor}, which is not complete before it")
        return known[event.anchor]
    if event.tag is not None:
        raise _refused(file, line, f"has the tag {event.tag}: a configuration is data and cannot use types")
    if isinstance(event, yaml.ScalarEvent):
        _judge_text(f"{file}, line {line + 1}", event.value, number=event.style is None)
        if event.anchor:
            known[event.anchor] = 1, 0
        return 1, 0
    return 1, 1


def _judge_key(file: Path, event: Any, within: _Open) -> None:
    import yaml

    line = event.start_mark.line
    if not isinstance(event, yaml.ScalarEvent):
        raise _refused(file, line, "has a name that is not a word")
    if event.value in within.keys:
        raise _refused(file, line, f"has the name {event.value[:80]!r} a second time")
    within.keys.add(event.value)


def _judge_text(where: str, value: str, number: bool) -> None:
    if number and NUMBER.fullmatch(value):
        raise UserError(f"{where}: a number with {len(value):,} characters is refused.\nTry: a smaller one")
    if value.count("${") > 1:
        raise UserError(
            f"{where}: {value[:80]} refers to several values, which could grow without limit.\n"
            "Try: one ${...} per value"
        )
    if "${" in value and len(value) > 1000:
        raise UserError(f"{where}: a text of {len(value):,} characters with a ${{...}} is refused")


def _refused(file: Path, line: int, reason: str) -> UserError:
    return UserError(f"{file}, line {line + 1} {reason}.\nTry: a YAML file of names and values, as in configs/")
