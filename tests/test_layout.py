"""The floors of docs/architecture.md: imports go down, and no two folders import each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import unlearnbench

PACKAGE = Path(unlearnbench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
PAGE = PACKAGE.parent / "docs" / "architecture.md"


def floors():
    """Return the floor of each folder and top-level module, from the ground up, as the page lists them."""
    table = PAGE.read_text().partition("## Folders, from the ground up")[2].partition("\n## ")[0]
    found = {}
    for number, line in enumerate(line for line in table.splitlines() if line.startswith("| `")):
        for name in re.findall(r"`([a-z_]+)(?:/|\.py)?`", line.split("|")[1]):
            found[name] = number
    return found


def room(module):
    """Return the folder, or the top-level module, that a module is in."""
    return module.split(".")[1] if module.count(".") else ""


def imports(file):
    """Yield the modules of ours that a file imports, but for type checking."""

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("unlearnbench"):
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    inside = PACKAGE.joinpath(*whole.split(".")[1:])
                    yield whole if inside.with_suffix(".py").exists() or inside.is_dir() else child.module
            yield from visit(child)

    yield from visit(ast.parse(file.read_text()))


def test_imports_go_down_the_floors_of_the_page():
    known, wrong = floors(), []
    for file in FILES:
        mine = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if mine in ("__init__", "__main__"):
            continue
        for module in imports(file):
            other = room(module)
            if other and other != mine and not known[other] <= known[mine]:
                wrong.append(f"{file.relative_to(PACKAGE)} imports {module}")
    assert not wrong


def test_no_two_rooms_import_each_other():
    pairs = set()
    for file in FILES:
        mine = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        pairs |= {(mine, room(module)) for module in imports(file) if room(module) not in ("", mine)}
    assert not [pair for pair in pairs if (pair[1], pair[0]) in pairs]


def test_no_modules_import_each_other_in_a_circle():
    """Nor inside functions."""
    names = {file: ".".join(("unlearnbench", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in FILES}
    wanted = {name.removesuffix(".__init__"): set(imports(file)) for file, name in names.items()}
    while free := [name for name, others in wanted.items() if not (others - {name}) & wanted.keys()]:
        for name in free:
            del wanted[name]
    assert not sorted(wanted)


def asks_kind(node):
    """Return whether an expression asks which kind of data something has."""
    if isinstance(node, ast.Compare):
        inside = list(ast.walk(node))
        named = any((getattr(one, "attr", "") or getattr(one, "id", "")) in ("kind", "kinds") for one in inside)
        return named and any(getattr(one, "value", None) in ("image", "text") for one in inside)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
        inside = list(ast.walk(node.args[1]))
        return any((getattr(one, "attr", "") or getattr(one, "id", "")) in KINDS_OF_CLASSES for one in inside)
    return False


def kinds_tested(file):
    """Return the lines on which a file asks which kind of data it has."""
    return [node.lineno for node in ast.walk(ast.parse(file.read_text())) if asks_kind(node)]


KINDS_OF_CLASSES = {"ImageTask", "TextTask", "ImageData", "TextData", "ImageSettings", "TextSettings"}


def test_only_tasks_and_data_sets_ask_which_kind_of_data_it_is(tmp_path):
    rest = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in ("tasks", "data")]
    assert [f"{file.relative_to(PACKAGE)}:{line}" for file in rest for line in kinds_tested(file)] == []
    asking = tmp_path / "asking.py"
    asking.write_text(
        'a = info.kind == "text"\nb = "text" in spec.kinds\nc = isinstance(task, tasks.TextTask)\nd = kind == 1\n'
    )
    assert kinds_tested(asking) == [1, 2, 3]
