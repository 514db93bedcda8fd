"""The source code that a computation is made of: the modules it imports, as syntax trees without comments."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

OURS = "unlearnbench"
FOLDERS = ("graph", "files", "request", "results", "runs", "runners", "report", "plots", "commands")
"""Folders of which no module can change a number that a stage computes."""
MODULES = (
    *("errors", "signals", "cli", "ranges", "evaluations.evaluation"),
    *("machine.provenance", "machine.cost", "machine.memory", "machine.threads"),
    *("machine.devices", "machine.precision", "machine.bars"),
)
"""Further modules that cannot: messages, bars, checks of settings, notes about the machine, and what only decides
settings that are part of keys themselves."""


@cache
def sources(modules: tuple[str, ...]) -> dict[str, str]:
    """Return the digest of each module that these ones import, themselves included, by the module's name."""
    return {module: tree_digest(path) for module in sorted(closure(modules)) if (path := source_of(module))}


@cache
def source_digest(modules: tuple[str, ...]) -> str:
    """Return one digest of all that `sources` returns, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(sources(modules), sort_keys=True).encode()).hexdigest()


def closure(modules: Iterable[str]) -> set[str]:
    """Return these modules and all of ours that they import, at any depth, but those that cannot change a number."""
    found: set[str] = set()
    left = [module for module in modules if module.partition(".")[0] == OURS]
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += imported(module)
    return found


@cache
def imported(module: str) -> tuple[str, ...]:
    """Return the modules of ours that a module imports anywhere but for type checking."""
    path = source_of(module)
    if path is None:
        return ()
    names = {name for node in _imports(ast.parse(path.read_text(encoding="utf-8"))) for name in _named(node)}
    return tuple(sorted(name for name in names if _counts(name) and source_of(name) is not None))


@cache
def source_of(module: str) -> Path | None:
    """Return the file that defines a module, without importing it; None where it cannot be found."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if not rest:
        return path
    below = path.parent.joinpath(*rest)
    for candidate in (below.with_suffix(".py"), below / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


@cache
def tree_digest(path: Path) -> str:
    """Return the SHA-256 of a source file's syntax tree without docstrings: comments and layout do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            body = [line for line in node.body if not _is_text(line)]
            node.body = body or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(line: ast.stmt) -> bool:
    """Return whether a statement is a string alone: a docstring, or a note below a constant."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports below a node, but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield from _imports(child)


def _named(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield the names of the modules that an import may mean."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    within = [f"{node.module}.{alias.name}" for alias in node.names]
    found = [name for name in within if source_of(name) is not None] if (node.module or "").startswith(OURS) else []
    yield from found
    if len(found) < len(within):
        yield node.module or ""


def _counts(module: str) -> bool:
    """Return whether a module is one of ours that can change a number."""
    top, _, rest = module.partition(".")
    return top == OURS and bool(rest) and rest.partition(".")[0] not in FOLDERS and rest not in MODULES
