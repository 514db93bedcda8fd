"""Code of others: packages with an entry point, and files that the person at the command line names."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from unlearnbench.errors import UserError
from unlearnbench.keys import source_of

GROUP = "unlearnbench.plugins"
FILES = "UNLEARNBENCH_PLUGIN_FILES"
"""Environment variable with the files of --plugin, as JSON, so that a launcher's worker processes trust them too."""


def trust_file(path: Path) -> str:
    """Trust a Python file named on the command line as a module of its own name, without running it yet."""
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"--plugin {path} is no Python file.\nTry: --plugin FOLDER/my_method.py")
    name, known = path.stem, files()
    if path.resolve() not in known:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        taken = spec is not None and (spec.origin is None or Path(spec.origin).resolve() != path.resolve())
        if taken or not name.isidentifier():
            raise UserError(
                f"--plugin {path}: {name!r} is no module name, or that of another module.\nTry: another file name"
            )
        os.environ[FILES] = json.dumps([str(file) for file in (*known, path.resolve())])
    return name


def files() -> tuple[Path, ...]:
    """Return the plugin files of the command line."""
    return tuple(Path(file) for file in json.loads(os.environ.get(FILES) or "[]"))


def trusted(module: str) -> bool:
    """Say whether a configuration may name classes of this module."""
    return module.split(".")[0] in {"unlearnbench", *_file_modules(), *_packages()}


def modules() -> list[ModuleType]:
    """Import and return the modules of all plugins: those of entry points, then files."""
    names = [entry.module for entry in entry_points(group=GROUP)]
    return [load(name) for name in [*names, *_file_modules()]]


def load(module: str) -> ModuleType:
    """Import a plugin's module; raise UserError naming file and line where it does not import."""
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        source = source_of(module)
        raise UserError(
            f"the plugin {source or module}{_line(error, source)} does not import: {type(error).__name__}: {error}\n"
            f"Try: python {source or f'-m {module}'}, until it says nothing"
        ) from error


def parsed(file: Path) -> ast.Module:
    """Return a plugin file's syntax tree, not run; raise UserError naming file and line where it has none."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"), str(file))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"the plugin {file}{_line(error, file)} is no Python: {error}") from error


def _line(error: BaseException, source: Path | None) -> str:
    """Return ", line n": where the error arose, or the last place in the plugin's own file that led to it."""
    if isinstance(error, SyntaxError) and error.filename == str(source):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(source)]
    return f", line {lines[-1]}" if lines else ""


def packages() -> list[Path]:
    """Return the folders of the packages that have an entry point."""
    found = []
    for package in sorted(_packages()):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent)
    return found


def config_folders() -> list[Path]:
    """Return the `configs` folders that plugin packages ship beside their modules."""
    return [folder / "configs" for folder in packages() if (folder / "configs").is_dir()]


def _packages() -> set[str]:
    return {entry.module.split(".")[0] for entry in entry_points(group=GROUP)}


def _file_modules() -> list[str]:
    """Name the modules of the plugin files, and make them importable."""
    for file in files():
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
    return [file.stem for file in files()]
