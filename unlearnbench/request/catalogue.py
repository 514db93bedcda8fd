"""List the choices from YAML and source text; nothing is imported, so `list` is instant."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError, nearest
from unlearnbench.graph.sources import source_of
from unlearnbench.metrics import MODULES
from unlearnbench.request import plugins
from unlearnbench.request.choices import files_of
from unlearnbench.request.config import config_root
from unlearnbench.request.scan import text

TOPICS = {
    "methods": "method",
    "models": "model",
    "datasets": "dataset",
    "forget": "forget",
    "evaluations": "eval",
    "metrics": "metrics",
    "experiments": "experiment",
}

ALSO = {"training": "train", "runners": "runner", "scales": "scale"}
"""Groups whose choices can be looked up by name, and are not listed."""

CITED = re.compile(
    r"^(?P<first>[A-Z][\w-]+)(?P<rest>(?:, [A-Z][\w-]+)+)?: [^:().]+(?:\(|, [A-Z]\w+ )(?P<year>20\d\d)\b", re.MULTILINE
)
"""How a paper is cited at the beginning of a paragraph: "Roy: Title (2025)", "Kim, Chae: Title, NeurIPS 2025"."""


@dataclass(frozen=True)
class Entry:
    """One choice: its name, the kinds of data it works with, what it does, its source, and its YAML file.

    Methods also have a `family`, and the `year` of their paper, "" without one.
    """

    name: str
    kind: str
    about: str
    paper: str
    file: Path | None = None
    family: str = ""
    year: str = ""

    @property
    def target(self) -> str:
        """The class that the YAML file names, or ""."""
        return _target(self.file) if self.file is not None else ""


def entries(topic: str, folders: Sequence[Path] = ()) -> list[Entry]:
    """Return all entries of a topic (a key of TOPICS or ALSO), including those of plugins."""
    if topic == "metrics":
        return list(_metrics())
    files = {file.stem: file for file in files_of({**TOPICS, **ALSO}[topic], folders)}
    read = _experiment if topic in ("experiments", "scales") else _component
    found = [replace(read(name, file), file=file) for name, file in sorted(files.items())]
    return _by_family([*found, *_without_yaml(files.values())]) if topic == "methods" else found


def method(name: str) -> Entry | None:
    """Return the entry of one of our methods; None for another name."""
    files = {file.stem: file for file in (config_root() / TOPICS["methods"]).glob("*.yaml")}
    return replace(_component(name, files[name]), file=files[name]) if name in files else None


def named(name: str, folders: Sequence[Path] = ()) -> list[tuple[str, Entry]]:
    """Return every entry of this name, with its topic; raise UserError, with the nearest names, if there is none."""
    everything = [(topic, entry) for topic in (*TOPICS, *ALSO) for entry in entries(topic, folders)]
    found = [(topic, entry) for topic, entry in everything if entry.name == name]
    if not found:
        known = [*TOPICS, *(entry.name for _, entry in everything)]
        raise UserError(
            f"nothing is called {name!r}.{nearest(name, known)}\nTry: unlearnbench list, or one of {', '.join(TOPICS)}"
        )
    return found


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
    kinds = "" if file.parent.name in ALSO.values() else _kinds(node, "" if file.parent.name == "eval" else "image")
    entry = Entry(name, kinds, about, paper_of(ast.get_docstring(tree) or ""))
    return _with_family(entry, node) if file.parent.name == TOPICS["methods"] else entry


def _without_yaml(files: Iterable[Path]) -> Iterator[Entry]:
    """Describe the methods in --plugin files that no YAML file names yet."""
    named = {_target(file) for file in files}
    for plugin in plugins.files():
        tree = plugins.parsed(plugin)
        for node in tree.body:
            name = f"{plugin.stem}.{node.name}" if isinstance(node, ast.ClassDef) else ""
            if isinstance(node, ast.ClassDef) and name not in named and _is_method(node):
                about = f"{_about(node)}. It has no YAML yet: --config-dir FOLDER with method/NAME.yaml"
                entry = Entry(name, _kinds(node), about, paper_of(ast.get_docstring(tree) or ""))
                yield _with_family(entry, node)


def _by_family(methods: Iterable[Entry]) -> list[Entry]:
    """Sort methods by family, in the order of `problem.Family`, and by name; those without one of these come last."""
    known = families()
    order = {family: number for number, family in enumerate(known)}
    return sorted(methods, key=lambda one: (order.get(one.family, len(known)), one.family, one.name))


def families() -> tuple[str, ...]:
    """Return the names of the families of methods, read from the source of `problem.Family`."""
    source = source_of("unlearnbench.problem")
    assert source is not None
    value = next(value for name, value in _given(plugins.parsed(source)).items() if name == "Family")
    return tuple(str(node.value) for node in ast.walk(value) if isinstance(node, ast.Constant))


def _with_family(entry: Entry, node: ast.ClassDef | None) -> Entry:
    """Return a method's entry with its family and year: "" for 0, and for what the class does not declare."""
    body = node.body if node else []
    declared = {ast.unparse(item.target): item.value for item in body if isinstance(item, ast.AnnAssign)}
    values = {name: value.value for name, value in declared.items() if isinstance(value, ast.Constant)}
    return replace(entry, family=str(values.get("family") or ""), year=str(values.get("year") or ""))


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


def _kinds(node: ast.ClassDef | None, undeclared: str = "image") -> str:
    for item in node.body if node else []:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id == "kinds":
            return ", ".join(sorted(n.value for n in ast.walk(item) if _is_text(n)))  # type: ignore[attr-defined]
    return undeclared


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in ("image", "text")


def paper_of(docstring: str) -> str:
    """Return the arXiv numbers that a docstring cites; without any, name and year of the paper it begins with."""
    numbers = re.findall(r"arXiv:(\d{4}\.\d{4,5})", docstring)
    cited = CITED.search(docstring)
    others = [f"{cited['first']}{' et al.' if cited['rest'] else ''} {cited['year']}"] if cited else []
    return ", ".join([f"arXiv:{number}" for number in dict.fromkeys(numbers)] or others)


def _metrics() -> Iterator[Entry]:
    folder = Path(__file__).parents[1] / "metrics"
    files = [folder / f"{name}.py" for name in MODULES]
    for file in (*files, *plugins.files()):
        tree = plugins.parsed(file)
        given = _given(tree)
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            for line in function.decorator_list:
                if isinstance(line, ast.Call) and getattr(line.func, "id", "") == "metric":
                    yield from _numbers(function, line, given)


def _given(tree: ast.Module) -> dict[str, ast.expr]:
    """Return a module's names and what it assigns to them."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None]
    targets = [(node.targets if isinstance(node, ast.Assign) else [node.target], node.value) for node in assigned]
    return {name.id: value for names, value in targets for name in names if isinstance(name, ast.Name) and value}


def _numbers(function: ast.FunctionDef, line: ast.Call, given: dict[str, ast.expr]) -> Iterator[Entry]:
    """Describe the numbers of one @metric line: its own words, or those of the tuples that it unpacks.

    `given` are the module's names and what they are assigned, which is all that the line may refer to.
    """
    shared = {word.arg or "": _literal(word.value, given) for word in line.keywords}
    about = (ast.get_docstring(function) or "").partition("\n")[0]
    for number in _unpacked(line.args, given):
        own: dict[str, Any] = {"about": about, **shared}
        words: list[ast.expr] = [number]
        if isinstance(number, ast.Call):
            words = number.args
            own |= {word.arg or "": _literal(word.value, given) for word in number.keywords}
        own |= {name: _literal(word, given) for name, word in zip(("name", "about"), words, strict=False)}
        perfect = f"{own['ideal']:g}" if own.get("ideal") is not None else "the retrained model's value"
        what = f"{str(own['about']).rstrip('.')}; perfect: {perfect}"
        yield Entry(str(own["name"]), str(own.get("unit", "")), what, str(own.get("source", "")))


def _unpacked(nodes: Iterable[ast.expr], given: dict[str, ast.expr]) -> Iterator[ast.expr]:
    """Yield arguments one by one, those of a starred tuple or list among them."""
    for node in nodes:
        inner = node.value if isinstance(node, ast.Starred) else None
        several = given.get(inner.id) if isinstance(inner, ast.Name) else inner
        if isinstance(several, ast.Tuple | ast.List):
            yield from _unpacked(several.elts, given)
        else:
            yield node


def _literal(node: ast.expr, given: dict[str, ast.expr]) -> object:
    """Return a literal's value, or that of the module's name for one; else its source text."""
    if isinstance(node, ast.Name) and node.id in given:
        return _literal(given[node.id], {})
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
