"""unlearnbench list: what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.commands.parser import Parser, add_sources, use_sources
from unlearnbench.errors import DONE

if TYPE_CHECKING:
    from rich.console import Console

    from unlearnbench.request.catalogue import Entry

HIDDEN = ("_target_:", "# @package")
"""Lines of a YAML file that are no values."""
SHORT = ("name", "kinds", "family", "year")
"""Columns that are not broken into several lines."""
ROOM = 110
"""The width of a terminal that has room for what methods are; `unlearnbench list NAME` says it too."""


def main(words: list[str]) -> int:
    """Show a topic, one entry, or all topics; return the exit code."""
    from unlearnbench.request.catalogue import TOPICS, named

    parser = Parser("unlearnbench list", description="Show what there is to choose from, or all about one choice.")
    parser.add_argument("topic", nargs="?", metavar="TOPIC or NAME", help=f"{', '.join(TOPICS)}, or a name in them")
    add_sources(parser)
    given = parser.parse_args(words)
    use_sources(given)
    found = named(given.topic, given.config_dir) if given.topic and given.topic not in TOPICS else []
    from rich.console import Console

    console = Console()
    for topic, entry in found:
        _show_entry(console, topic, entry)
    if not found:
        _show_topics(console, [given.topic] if given.topic else list(TOPICS), given.config_dir)
    return DONE


def _show_topics(console: Console, topics: Sequence[str], folders: Sequence[Path]) -> None:
    """Show a table per topic, without empty columns."""
    from rich.markup import escape
    from rich.table import Table

    from unlearnbench.request.catalogue import entries

    for topic in topics:
        table = Table(title=topic, title_justify="left", box=None, pad_edge=False)
        found = entries(topic, folders)
        columns = _of_methods(found, console.width) if topic == "methods" else _of_others(found)
        used = {title: cells for title, cells in columns.items() if any(cells)}
        for title in used:
            table.add_column(title, no_wrap=title in SHORT)
        for cells in zip(*used.values(), strict=True):
            table.add_row(*(escape(text) for text in cells))
        console.print(table)
        console.print()


def _of_methods(methods: Sequence[Entry], width: int) -> dict[str, list[str]]:
    """Return the columns of methods, with the first paper that each cites; what they are only where there is room."""
    columns = {
        "name": [one.name for one in methods],
        "kinds": [one.kind for one in methods],
        "family": [one.family for one in methods],
        "year": [one.year for one in methods],
        "paper": [one.paper.partition(",")[0] for one in methods],
    }
    return {**columns, "what it is": [one.about for one in methods]} if width >= ROOM else columns


def _of_others(found: Sequence[Entry]) -> dict[str, list[str]]:
    return {
        "name": [one.name for one in found],
        "kind": [one.kind for one in found],
        "what it is": [one.about for one in found],
        "paper": [one.paper for one in found],
    }


def _show_entry(console: Console, topic: str, entry: Entry) -> None:
    """Show what an entry is, how to choose it, where it comes from, and the values of its YAML."""
    from unlearnbench.files.escapes import printable
    from unlearnbench.request.catalogue import ALSO, TOPICS
    from unlearnbench.request.scan import text

    group = {**TOPICS, **ALSO}[topic]
    word = f"'eval=[standard,{entry.name}]'" if group == "eval" else f"{group}={entry.name}"
    lines = {
        "what it is": entry.about,
        "choose it": "" if topic == "metrics" else f"unlearnbench run {word}",
        "unit" if topic == "metrics" else "works with": entry.kind,
        "source" if topic == "metrics" else "paper": entry.paper,
        "family": entry.family,
        "year": entry.year,
        "class": entry.target,
        "file": str(entry.file or ""),
    }
    shown = [f"{entry.name} ({topic})", *(f"  {name + ':':12}{value}" for name, value in lines.items() if value)]
    if entry.file is not None:
        lines_of_file = [line for line in text(entry.file).splitlines() if not line.startswith(HIDDEN)]
        shown += ["  values:", *(f"    {line}" for line in lines_of_file)] if lines_of_file else []
    for line in shown:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    console.print()
