"""List the choices from YAML and source text; nothing is imported, so `list` is instant."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.graph.keys import source_of
from unlearnbench.metrics import MODULES
from unlearnbench.request import plugins
from unlearnbench.request.config import config_root
from unlearnbench.request.scan import text

TOPICS = {
    "methods": "method",
    "models": "model",
    "datasets": "dataset",
    "forget": "forget",
    "metrics": "metrics",
    "experiments": "experiment",
}


@dataclass(frozen=True)
class Entry:
    """One choice: its name, the kinds of data it works with, what it does, and its source."""

    name: str
    kind: str
    about: str
    paper: str


def entries(topic: str, folders: Sequence[Path] = ()) -> list[Entry]:
    """Return all entries of a topic (a key of TOPICS), including those of plugins."""
    if topic == "metrics":
        return list(_metrics())
    roots = [config_root(), *folders, *plugins.config_folders()]
    files = {file.stem: file for root in roots for file in sorted((root / TOPICS[topic]).glob("*.yaml"))}
    read = _experiment if topic == "experiments" else _component
    found = [read(name, file) for name, file in sorted(files.items())]
    return [*found, *_without_yaml(files.values())] if topic == "methods" else found


def _experiment(name: str, file: Path) -> Entry:
    """Describe a preset by the first sentence of the comment at the top of its file."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text(file).splitlines())
    comment = " ".join(line.lstrip("# ") for line in lines if not line.startswith("# @package"))
    return Entry(name, "", re.split(r"(?<=\.) ", comment)[0].rstrip("."), "")


def _component(name: str, file: Path) -> Entry:
    """Describe a class from its source: docstring, `kinds`, and the papers its module cites.

    A comment on the YAML's first line is added, to tell apart several choices of one class.
    """
    module, _, class_name = _target(file).rpartition(".")
    typed = {plugin.stem: plugin for plugin in plugins.files()}
    source = typed.get(module) or (source_of(module) if module else None)
    if source is None:
        return Entry(name, "", f"({file})", "")
    tree = plugins.parsed(source)
    node = next((item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == class_name), None)
    first = text(file).partition("\n")[0]
    comment = first.removeprefix("# ") if first.startswith("# ") and not first.startswith("# @") else ""
    about = ". ".join(part for part in (_about(node), comment) if part)
    return Entry(name, _kinds(node), about, paper_of(ast.get_docstring(tree) or ""))


def _without_yaml(files: Iterable[Path]) -> Iterator[Entry]:
    """Describe the methods in --plugin files that no YAML file names yet."""
    named = {_target(file) for file in files}
    for plugin in plugins.files():
        tree = plugins.parsed(plugin)
        for node in tree.body:
            name = f"{plugin.stem}.{node.name}" if isinstance(node, ast.ClassDef) else ""
            if isinstance(node, ast.ClassDef) and name not in named and _is_method(node):
                about = f"{_about(node)}. It has no YAML yet: --config-dir FOLDER with method/NAME.yaml"
                yield Entry(name, _kinds(node), about, paper_of(ast.get_docstring(tree) or ""))


def _is_method(node: ast.ClassDef) -> bool:
    calls = any(isinstance(item, ast.FunctionDef) and item.name == "__call__" for item in node.body)
    return calls and any(isinstance(item, ast.AnnAssign) and ast.unparse(item.target) == "kinds" for item in node.body)


def _target(file: Path) -> str:
    """Return the class that a YAML file names, or ""."""
    found = re.search(r"^_target_:\s*(\S+)", text(file), re.MULTILINE)
    return found[1] if found else ""


def _about(node: ast.ClassDef | None) -> str:
    """Return the first line of a class's docstring."""
    return ((ast.get_docstring(node) if node else None) or "").partition("\n")[0].rstrip(".")


def _kinds(node: ast.ClassDef | None) -> str:
    for item in node.body if node else []:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == "kinds":
            return ", ".join(sorted(n.value for n in ast.walk(item) if _is_text(n)))  # type: ignore[attr-defined]
    return "image"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("image", "text")


def paper_of(docstring: str) -> str:
    """Return the arXiv numbers that a docstring cites."""
    numbers = re.findall(r"arXiv:(\d{4}\.\d{4,5})", docstring)
    return ", ".join(f"arXiv:{number}" for number in dict.fromkeys(numbers))


def _metrics() -> Iterator[Entry]:
    folder = Path(__file__).parents[1] / "metrics"
    files = [folder / f"{name}.py" for name in MODULES]
    for file in (*files, *plugins.files()):
        functions = [node for node in plugins.parsed(file).body if isinstance(node, ast.FunctionDef)]
        for node in functions:
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "metric":
                    about = (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
                    given: dict[str, Any] = {word.arg or "": _literal(word.value) for word in call.keywords}
                    perfect = f"{given['ideal']:g}" if "ideal" in given else "the retrained model's value"
                    name, unit, source = str(_literal(call.args[0])), str(given["unit"]), str(given["source"])
                    yield Entry(name, unit, f"{about}; perfect: {perfect}", source)


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
