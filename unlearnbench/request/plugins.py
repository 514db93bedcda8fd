"""Third-party code: packages with an entry point, and files named on the command line."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from unlearnbench.errors import UserError
from unlearnbench.graph.sources import source_of

GROUP = "unlearnbench.plugins"
FILES = "UNLEARNBENCH_PLUGIN_FILES"
"""Environment variable with the --plugin files as JSON, so that worker processes trust them too."""
AT_START = os.environ.get(FILES, "")
"""Its value when this process started; anything set later is not trusted."""

_named: list[Path] = []


def trust_file(path: Path) -> str:
    """Trust a Python file from the command line as a module, without running it yet."""
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"--plugin {path} is not a Python file.\nTry: --plugin FOLDER/my_method.py")
    name, known = path.stem, files()
    if path.resolve() not in known:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        taken = spec is not None and (spec.origin is None or Path(spec.origin).resolve() != path.resolve())
        if taken or not name.isidentifier():
            raise UserError(
                f"--plugin {path}: {name!r} is not a module name, or is already taken.\nTry: another file name"
            )
        _named.append(path.resolve())
        os.environ[FILES] = json.dumps([str(file) for file in files()])
    return name


def files() -> tuple[Path, ...]:
    """Return the --plugin files: those of the process that started this one, and its own."""
    return (*(Path(file) for file in json.loads(AT_START or "[]")), *_named)


def trusted(module: str) -> bool:
    """Return whether a configuration may use classes from this module."""
    return module.split(".")[0] in {"unlearnbench", *_file_modules(), *_packages()}


def modules() -> list[ModuleType]:
    """Import and return the modules of all plugins: entry points first, then files."""
    names = list(_entry_points(tuple(sys.path)))
    return [load(name) for name in [*names, *_file_modules()]]


def load(module: str) -> ModuleType:
    """Import a plugin's module; raise UserError with file and line if that fails."""
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        source = source_of(module)
        raise UserError(
            f"the plugin {source or module}{_line(error, source)} does not import: {type(error).__name__}: {error}\n"
            f"Try: python {source or f'-m {module}'}, until it runs without errors"
        ) from error


def parsed(file: Path) -> ast.Module:
    """Parse a plugin file without running it.

    Raises UserError with file and line if it is not valid Python.
    """
    try:
        return ast.parse(file.read_text(encoding="utf-8"), str(file))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"the plugin {file}{_line(error, file)} is not valid Python: {error}") from error


def _line(error: BaseException, source: Path | None) -> str:
    """Return ", line n": where the error arose, or the last line of the plugin's file that led to it."""
    if isinstance(error, SyntaxError) and error.filename == str(source):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(source)]
    return f", line {lines[-1]}" if lines else ""


def code() -> list[Path]:
    """Return all plugin files: --plugin files with their imports, and whole packages."""
    installed = (file for folder in packages() for file in folder.rglob("*.py"))
    return sorted({*installed, *(module for file in files() for module in _with_imports(file))})


def code_of(module: str) -> list[Path]:
    """Return the files that define a plugin's module; empty for one of our modules."""
    top = module.partition(".")[0]
    named = {module for file in files() if file.stem == top for module in _with_imports(file)}
    return sorted(named or {file for folder in packages() if folder.name == top for file in folder.rglob("*.py")})


def _with_imports(file: Path) -> set[Path]:
    """Return a plugin file and everything in its folder that it imports, even indirectly.

    Raises UserError if the file is gone.
    """
    if not file.is_file():
        raise UserError(f"the plugin {file} is gone.\nTry: put it back, or start without it")
    found, new = set[Path](), {file}
    while new:
        found |= new
        names = {name for one in new for name in _imported(one)}
        modules = {file.parent / f"{name}.py" for name in names}
        inside = {module for name in names for module in (file.parent / name).rglob("*.py")}
        new = {module for module in modules | inside if module.is_file()} - found
    return found


def _imported(file: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports; none if it is not valid Python."""
    try:
        tree = parsed(file)
    except UserError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def packages() -> list[Path]:
    """Return the folders of the packages with an entry point."""
    found = []
    for package in sorted(_packages()):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found.append(Path(spec.origin).parent)
    return found


def config_folders() -> list[Path]:
    """Return the `configs` folders in plugin packages."""
    return [folder / "configs" for folder in packages() if (folder / "configs").is_dir()]


def _packages() -> set[str]:
    return {module.split(".")[0] for module in _entry_points(tuple(sys.path))}


@cache
def _entry_points(_path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the modules that installed packages name; looked up once for each state of Python's path."""
    return tuple(entry.module for entry in entry_points(group=GROUP))


def _file_modules() -> list[str]:
    """Return the module names of the plugin files, and make them importable."""
    for file in files():
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
    return [file.stem for file in files()]
