#!/usr/bin/env python3
"""Write the pages of the site that are made from the code: commands, settings, the Python interface, decisions.

    python scripts/build_reference.py [FOLDER]      # default: docs/reference, which git ignores

Commands are their own --help. Settings are the YAML files of configs/, with their comments, and the types and ranges of
the dataclasses that check them. So nothing here can be out of date; scripts/docs calls it before each build.
"""

import argparse
import dataclasses
import importlib
import inspect
import io
import json
import os
import re
import types
import typing
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from pydantic.fields import FieldInfo

import unlearnbench
from unlearnbench import cli
from unlearnbench.request.catalogue import ALSO, TOPICS, entries

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
INTERFACES = (
    "unlearnbench.contracts",
    "unlearnbench.task",
    "unlearnbench.problem",
    "unlearnbench.evaluations.evaluation",
    "unlearnbench.runners.runner",
)
"""Modules of which the interface page shows the classes: what extensions are written against."""
PAGES = {
    "method": "Methods",
    "model": "Models",
    "dataset": "Data sets",
    "forget": "Forget sets",
    "eval": "Evaluations",
    "train": "Training",
    "runner": "Runners",
}
INSIDE = ("fget", "func")
"""Where a property has its function."""
WORDS: dict[Any, str] = {
    int: "whole number", float: "number", str: "text", bool: "`true`, `false`", Path: "file", type(None): "null",
}  # fmt: skip
"""What types are called."""


def commands() -> str:
    """Return the page of commands: what each prints for --help, of `run` the part above the choices."""
    parts = ["# Every command", "What `unlearnbench COMMAND --help` prints."]
    parts.append(block(helped(["--help"])))
    for name in cli.COMMANDS:
        said = helped([name, "--help"])
        if name == "run":
            said = (
                said.partition("Groups, and")[0]
                + "Here it prints all choices and keys: they have pages of their own.\n"
            )
        parts += [f"## {name}", block(said)]
    return "\n\n".join(parts) + "\n"


def helped(words: list[str]) -> str:
    """Return what a command line prints."""
    said = io.StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        cli.dispatch(words)
    return said.getvalue()


def block(text: str, language: str = "text") -> str:
    """Return a code block."""
    return f"```{language}\n{text.strip()}\n```"


def settings() -> dict[str, str]:
    """Return the pages of settings by name: one of what every run has, and one for each group."""
    every = [
        "# Every setting",
        "What a run composes, before the files of its groups. `KEY=VALUE` on the command line changes any of them; "
        "`unlearnbench run --cfg job` shows all of a run.",
        block((CONFIGS / "run.yaml").read_text().partition("\nhydra:")[0], "yaml"),
        "## Presets",
        "\n".join(map(preset, entries("experiments"))),
    ]
    pages = {"settings": "\n\n".join(every) + "\n"}
    topics = {group: topic for topic, group in {**TOPICS, **ALSO}.items()}
    for group, title in PAGES.items():
        parts = [f"# {title}: `{group}=`" if group != "eval" else f"# {title}: `eval=[standard,NAME]`"]
        shared: dict[type, None] = {}
        for entry in sorted(entries(topics[group]), key=lambda one: one.name):
            parts += choice(group, entry.name, entry.target, shared) if entry.file else []
        pages[f"settings-{group}"] = "\n\n".join([*parts, *together(shared)]) + "\n"
    return pages


def preset(entry: Any) -> str:
    """Return a preset's line."""
    return f"- `experiment={entry.name}`: {entry.about or 'see its file'}"


def choice(group: str, name: str, target: str, shared: dict[type, None]) -> Iterator[str]:
    """Yield the parts of a choice: what its class says, and its settings."""
    text = (CONFIGS / group / f"{name}.yaml").read_text()
    kind = class_of(target)
    yield f"## {name}"
    remarks = " ".join(line.lstrip("# ") for line in text.splitlines() if re.match(r"#(?! @package)", line))
    yield from [remarks] if remarks else []
    if not name.endswith("_paper"):
        yield inspect.getdoc(kind) or ""
        module = inspect.getdoc(importlib.import_module(kind.__module__)) or ""
        if group in ("method", "eval"):
            yield module
    rows = list(lines(text, kind, f"{group}.{name}" if group == "eval" else group, shared))
    if rows:
        yield "\n".join(["| setting | default | accepts | |", "|---|---|---|---|", *rows])


def class_of(target: str) -> Any:
    """Return the class that a YAML file names."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def lines(text: str, kind: Any, place: str, shared: dict[type, None]) -> Iterator[str]:
    """Yield a row for each setting of a YAML file."""
    hints = get_type_hints(kind, include_extras=True)
    said = dict(re.findall(r"^(\w+):.*?\s#\s(.*)$", text, re.MULTILINE))
    for key, value in (yaml.safe_load(text) or {}).items():
        if key in ("_target_", "defaults"):
            continue
        accepted = accepts(hints[key], shared) if key in hints else ""
        yield row(f"`{place}.{key}`", f"`{shown(value)}`", accepted, said.get(key, ""))


def row(*cells: str) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def shown(value: Any) -> str:
    """Return a value as YAML writes it, in one line."""
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value)
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).removesuffix("\n...\n").strip()


def accepts(hint: Any, shared: dict[type, None]) -> str:
    """Return in words which values a type takes; note the dataclasses in it, which have tables of their own."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return ranged(accepts(args[0], shared), [one for one in args[1:] if isinstance(one, FieldInfo)])
    if origin is Literal:
        return ", ".join(f"`{shown(one)}`" for one in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(accepts(one, shared) for one in args))
    if origin in (tuple, list):
        return f"list of {accepts(args[0], shared)}" if args else "list"
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        shared[hint] = None
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    names = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "`true`, `false`",
        Path: "file",
        type(None): "null",
    }
    return names.get(hint, getattr(hint, "__name__", str(hint)).lower())


def ranged(word: str, fields: list[FieldInfo]) -> str:
    """Add the range of a number."""
    for limit in (limit for one in fields for limit in one.metadata):
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            value = getattr(limit, name, None)
            if value is not None and abs(value) < 1e30 and abs(value) < 2**63:
                word += f" {sign} {value:,}"
    return word


def together(shared: dict[type, None]) -> Iterator[str]:
    """Yield tables of the dataclasses that several choices share, and of those in them."""
    done: dict[type, None] = {}
    while left := [kind for kind in shared if kind not in done]:
        done[left[0]] = None
        yield f"## {left[0].__name__}"
        yield inspect.getdoc(left[0]) or ""
        hints = get_type_hints(left[0], include_extras=True)
        rows = [
            row(f"`{one.name}`", "" if one.default is dataclasses.MISSING else f"`{plain(one.default)}`",
                accepts(hints[one.name], shared))
            for one in dataclasses.fields(left[0])
        ]  # fmt: skip
        yield "\n".join(["| setting | default | accepts |", "|---|---|---|", *rows])


def plain(value: Any) -> str:
    """Return a field's default as it is typed."""
    return shown(dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value)  # type: ignore[arg-type]


def interface() -> str:
    """Return the page of what `import unlearnbench` offers, and of what extensions are written against."""
    parts = ["# Python interface", "What `import unlearnbench` offers; [From Python](../python.md) shows it at work."]
    for name in unlearnbench.__all__:
        parts += documented(f"unlearnbench.{name}", getattr(unlearnbench, name))
    parts.append("## For extensions\n\nWhat methods, models, data, forget sets and evaluations are written against.")
    for module in map(importlib.import_module, INTERFACES):
        found = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
        for kind in (one for one in found if not one.__name__.startswith("_")):
            parts += documented(f"{kind.__module__}.{kind.__name__}", kind, "###")
    return "\n\n".join(parts) + "\n"


def documented(name: str, thing: Any, heading: str = "##") -> Iterator[str]:
    """Yield what a function or class is: its signature, its docstring, and its public methods."""
    yield f"{heading} {name.rpartition('.')[2]}"
    yield block(signature(name, thing), "python")
    yield inspect.getdoc(thing) or ""
    if inspect.isclass(thing):
        for word, member in vars(thing).items():
            inner = (
                member if inspect.isfunction(member) else getattr(member, "fget", None) or getattr(member, "func", None)
            )
            if not word.startswith("_") and inspect.isfunction(inner):
                about = (inspect.getdoc(inner) or "").replace("\n", "\n    ")
                call = f".{word}{arguments(inner)}" if inspect.isfunction(member) else f".{word}"
                yield f"- `{call}`  \n    {about}"


def signature(name: str, thing: Any) -> str:
    """Return how something is called, one argument a line where they are many."""
    if inspect.isclass(thing) and (getattr(thing, "_is_protocol", False) or issubclass(thing, Exception)):
        return f"class {name}"
    words = arguments(thing)
    if len(name + words) > 100:
        found = inspect.signature(thing)
        words = "(\n" + "".join(f"    {one},\n" for one in items(found)) + ")" + returned(found)
    return f"{'class ' if inspect.isclass(thing) else ''}{name}{words}"


def arguments(thing: Any) -> str:
    """Return a function's arguments and what it returns, in one line."""
    found = inspect.signature(thing)
    return f"({', '.join(items(found))}){returned(found)}"


def items(found: inspect.Signature) -> Iterator[str]:
    """Yield a signature's arguments but self, their types without quotes."""
    for one in found.parameters.values():
        if one.name != "self":
            bare = str(one.replace(default=inspect.Parameter.empty)).replace("'", "")
            yield bare if one.default is inspect.Parameter.empty else f"{bare} = {one.default!r}"


def returned(found: inspect.Signature) -> str:
    """Return a signature's arrow."""
    empty = found.return_annotation in (inspect.Signature.empty, None, "None")
    return "" if empty else f" -> {str(found.return_annotation).strip(chr(39))}"


def decisions() -> str:
    """Return the list of decisions."""
    parts = [
        "# Decisions",
        "Choices that somebody will question: the context, the choice, what was rejected, what it costs.\n",
    ]
    for file in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        parts.append(f"- [{file.read_text().partition(chr(10))[0].lstrip('# ')}](../decisions/{file.name})")
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write all pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "docs" / "reference")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["COLUMNS"] = "100"
    pages = {"commands": commands(), **settings(), "python": interface(), "decisions": decisions()}
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
